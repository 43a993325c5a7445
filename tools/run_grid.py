#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Train and test every cell of an ablation with several seeds, and tabulate mean and spread.

Each run is a training and its test in a process of their own. The same command goes on where it was
interrupted, and does nothing again whose config has not changed.

Example:
    python tools/run_grid.py configs/ablation/table8.py --data bluemarble --seeds 0 1 2 --iters 300
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossearth.engine.cli import add_experiment_options, run_tool

if TYPE_CHECKING:
    from crossearth.engine.experiments import Trial

TOOLS = Path(__file__).resolve().parent


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('grid', type=Path, help='file of an ablation, see configs/ablation')
    parser.add_argument('--data', default='bluemarble', metavar='NAME|CONFIG',
                        help='a config of the whole method: a name in the folder `data` beside the '
                             'grid, or a path (default: bluemarble)')
    add_experiment_options(parser)
    return parser.parse_args()


def main() -> None:
    """Run what is missing, and write the table after each run."""
    args = parse_args()
    from crossearth import compat
    from crossearth.engine.experiments import run_all, what_is_left

    compat.apply()
    runs = plan(args)

    def after_each(line: str) -> None:
        print(line, flush=True)
        write_summary(runs, args)

    left = run_all(runs, TOOLS, after_each, args.jobs, args.minutes)
    print(write_summary(runs, args))
    if left:
        print(what_is_left(left, runs))


def plan(args: argparse.Namespace) -> list['Trial']:
    """Make and check the configs of all runs, before the first one starts."""
    from crossearth.engine.config import load_config
    from crossearth.engine.experiments import plan_trial
    from crossearth.errors import ConfigError

    data = Path(args.data)
    if data.suffix != '.py':
        data = args.grid.parent / 'data' / f'{args.data}.py'
    args.out = args.out or Path('work_dirs') / '_'.join(
        [args.grid.stem, data.stem, *([str(args.iters)] if args.iters else [])])
    runs = []
    for cell, options in cells(args.grid):
        for seed in args.seeds:
            try:
                config = load_config(data, {
                    **(args.cfg_options or {}), **options, 'randomness.seed': seed},
                    data_root=args.data_root)
            except ConfigError as error:
                raise ConfigError(f'{args.grid}, cell {cell!r}: {error}') from None
            runs.append(plan_trial(cell, seed, config, args.out, args.iters))
    return runs


def cells(grid: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and options of the cells: those listed, or every combination of the axes' values."""
    from crossearth.engine.config import load_config
    from crossearth.errors import ConfigError

    content = load_config(grid)
    listed, axes = content.get('custom_cells'), content.get('custom_axes')
    if bool(listed) == bool(axes):
        raise ConfigError(
            f'{grid} is no grid: it needs either custom_cells, a dict of names and the options '
            'that each sets, or custom_axes, a dict of options and the values that each takes.')
    if listed:
        yield from listed.items()
        return
    for values in itertools.product(*axes.values()):
        options = dict(zip(axes, values, strict=True))
        yield ', '.join(f"{key.split('.', 1)[1]}={v}" for key, v in options.items()), options


def write_summary(runs: list['Trial'], args: argparse.Namespace) -> str:
    """Write summary.md, summary.csv and summary.json of what is finished; give the first."""
    from crossearth.evaluation import SpreadTable

    return SpreadTable.of_runs(runs).write(
        args.out, grid=args.grid.stem, data=args.data, iters=runs[0].iters)


if __name__ == '__main__':
    run_tool(main)
