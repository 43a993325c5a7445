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
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossearth.engine.cli import add_config_options, run_tool

TOOLS = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Run:
    """One cell with one seed."""

    cell: str
    seed: int
    folder: Path
    config: str  # its text: formatting one takes a second
    iters: int

    @property
    def config_file(self) -> Path:
        """The config of what lies in the folder, once a run has begun.

        Beside it: the training writes the config it has completed into the folder.
        """
        return self.folder.with_suffix('.py')

    @property
    def report(self) -> Path:
        """What the test leaves."""
        return self.folder / 'report.json'

    @property
    def log(self) -> Path:
        """What the processes print."""
        return self.folder / 'log.txt'

    def begun(self) -> bool:
        """Whether the folder holds a run of this very config."""
        return (self.config_file.is_file()
                and self.config_file.read_text() == self.config)

    def finished(self) -> bool:
        """Whether this very config has been trained and tested."""
        return self.begun() and self.report.is_file()

    def trained(self) -> bool:
        """Whether the last iteration is saved."""
        pointer = self.folder / 'last_checkpoint'
        return pointer.is_file() and Path(pointer.read_text()).name == self.checkpoint.name

    @property
    def checkpoint(self) -> Path:
        """The last iteration, the only one that is tested."""
        return self.folder / f'iter_{self.iters}.pth'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('grid', type=Path, help='file of an ablation, see configs/ablation')
    parser.add_argument('--data', default='bluemarble', metavar='NAME|CONFIG',
                        help='a config of the whole method: a name in the folder `data` beside the '
                             'grid, or a path (default: bluemarble)')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2],
                        help='seeds of each cell (default: 0 1 2)')
    parser.add_argument('--iters', type=int,
                        help='iterations of a training; the schedule is stretched to fit '
                             "(default: the config's)")
    parser.add_argument('--out', type=Path,
                        help='folder of the results (default: work_dirs/<grid>_<data>[_<iters>])')
    add_config_options(parser)
    args = parser.parse_args()
    if args.iters is not None and args.iters < 1:
        parser.error('--iters must be at least 1')
    return args


def main() -> None:
    """Run what is missing, and write the table after each run."""
    args = parse_args()
    from crossearth import compat
    from crossearth.errors import CrossEarthError

    compat.apply()
    runs = plan(args)
    failed = []
    for number, run in enumerate(runs, 1):
        started = time.perf_counter()
        outcome = carry_out(run)
        print(f'[{number}/{len(runs)}] {run.cell}, seed {run.seed}: {outcome} '
              f'({time.perf_counter() - started:.0f} s)', flush=True)
        if outcome == 'failed':
            failed.append(run)
        table = write_summary(runs, args)
    print(table)
    if failed:
        raise CrossEarthError(
            f'{len(failed)} of {len(runs)} runs failed: '
            f"{', '.join(str(run.log) for run in failed)} say why. Mend the cause and give the "
            'same command again; finished runs are kept.')


def plan(args: argparse.Namespace) -> list[Run]:
    """Make and check the configs of all runs, before the first one starts."""
    from crossearth.engine.config import load_config
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
            if args.iters:
                stretch_schedule(config, args.iters)
            folder = args.out / re.sub(r'[^\w.=+-]+', '_', cell) / f'seed{seed}'
            iters = config.train_cfg.max_iters
            runs.append(Run(cell, seed, folder, config.pretty_text, iters))
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


def stretch_schedule(config: Any, iters: int) -> None:
    """Train for `iters` iterations with a learning rate of the same shape."""
    factor = iters / config.train_cfg.max_iters
    config.train_cfg.max_iters = iters
    for scheduler in config.get('param_scheduler') or ():
        for key in ('begin', 'end'):
            if scheduler.get(key):
                scheduler[key] = max(1, round(scheduler[key] * factor))


def carry_out(run: Run) -> str:
    """Train and test, as far as it has not been done with this very config."""
    if run.finished():
        return 'done before'
    if not run.begun():
        run.folder.mkdir(parents=True, exist_ok=True)
        for stale in ('last_checkpoint', 'report.json', 'log.txt'):
            (run.folder / stale).unlink(missing_ok=True)
        run.config_file.write_text(run.config)
    if run.trained():
        succeeded = call(run, 'test.py', run.checkpoint)
    else:
        resume = ['--resume'] if (run.folder / 'last_checkpoint').is_file() else []
        succeeded = call(run, 'train.py', *resume)  # it tests, too
    return 'done' if succeeded else 'failed'


def call(run: Run, tool: str, *arguments: object) -> bool:
    """Run a tool with its output appended to the run's log; give whether it succeeded."""
    command = [
        sys.executable, TOOLS / tool, run.config_file, *arguments, '--work-dir', run.folder]
    with run.log.open('a') as log:
        return subprocess.run(
            [str(word) for word in command], stdout=log, stderr=subprocess.STDOUT,
            check=False).returncode == 0


def write_summary(runs: list[Run], args: argparse.Namespace) -> str:
    """Write summary.md, summary.csv and summary.json of what is finished; give the first."""
    from crossearth.evaluation import SpreadTable, read_report

    reports: dict[str, dict[int, Any]] = {}
    for run in runs:
        by_seed = reports.setdefault(run.cell, {})
        if run.finished():
            by_seed[run.seed] = read_report(run.report)
    table = SpreadTable(reports)
    facts = {'grid': args.grid.stem, 'data': args.data,
             'iters': runs[0].iters}
    for name, text in (('md', table.markdown()), ('csv', table.csv()),
                       ('json', table.json(**facts))):
        (args.out / f'summary.{name}').write_text(text)
    return table.markdown()


if __name__ == '__main__':
    run_tool(main)
