#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Train and test several methods on the same data, seeds and iterations, and tabulate them.

Each run is a training and its test in a process of their own. The same command goes on where it was
interrupted, and does nothing again whose config has not changed.

Example:
    python tools/compare.py --methods deeplabv2 daformer hrda mtp rein crossearth \
        --data bluemarble --source subtropical_monsoon --seeds 0 1 2
"""

import argparse
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossearth.engine.cli import add_experiment_options, run_tool

if TYPE_CHECKING:
    from mmengine.config import Config

    from crossearth.engine.experiments import Trial

TOOLS = Path(__file__).resolve().parent
CONFIGS = TOOLS.parent / 'configs' / 'demo'
TABLES = TOOLS.parent / 'benchmarks' / 'accuracy'
SOURCE = 'subtropical_monsoon'  # the source for which every method has a config
SUFFIX = f'_{SOURCE}'
ITERS = 300
COSTS = {'seconds': 's/iteration', 'memory_mb': 'peak memory, MB'}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    methods = sorted(path.stem.removesuffix(SUFFIX) for path in CONFIGS.glob(f'*{SUFFIX}.py'))
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n\n')[0], epilog=f"methods: {', '.join(methods)}")
    parser.add_argument('--methods', nargs='+', required=True, metavar='METHOD', choices=methods,
                        help='rows of the table, in this order')
    parser.add_argument('--data', default='bluemarble', metavar='bluemarble|CONFIG',
                        help='BlueMarble-Climate, or a config whose data take its place')
    parser.add_argument('--source', help='domain to train on (default: subtropical_monsoon, or '
                                         "the data config's)")
    parser.add_argument('--table', type=Path, metavar='DIR',
                        help='folder of the table (default: named like --out, in '
                             'benchmarks/accuracy)')
    add_experiment_options(parser)
    return parser.parse_args()


def main() -> None:
    """Run what is missing, and write the table after each run."""
    args = parse_args()
    from crossearth import compat
    from crossearth.engine.experiments import run_all

    compat.apply()
    name = '_'.join(['compare', Path(args.data).stem, *([args.source] if args.source else []),
                     str(args.iters or ITERS)])
    args.out = args.out or Path('work_dirs', name)
    args.table = args.table or TABLES / name
    runs, described = plan(args)

    def after_each(line: str) -> None:
        print(line, flush=True)
        write_table(runs, described, args)

    run_all(runs, TOOLS, after_each, args.jobs)
    print(write_table(runs, described, args))


def plan(args: argparse.Namespace) -> tuple[list['Trial'], dict[str, dict[str, str | float]]]:
    """Make and check the configs of all runs, before the first one starts; describe the methods."""
    from crossearth.engine.experiments import plan_trial
    from crossearth.errors import ConfigError

    runs, described, batches = [], {}, {}
    for method in args.methods:
        for seed in args.seeds:
            config = read_method(method, args, seed)
            if method not in described:
                batches[method] = config.train_dataloader.batch_size
                described[method] = describe(config)
            runs.append(plan_trial(method, seed, config, args.out, args.iters or ITERS))
    if len(set(batches.values())) > 1:
        raise ConfigError(f'the methods do not see the same number of images: batch sizes are '
                          f'{batches}. Set --cfg-options train_dataloader.batch_size=N.')
    return runs, described


def read_method(method: str, args: argparse.Namespace, seed: int) -> 'Config':
    """Read the config of a method, with the data and the source that were asked for."""
    from crossearth.engine.config import load_config

    options = {**(args.cfg_options or {}), 'randomness.seed': seed,
               **({'source': [args.source]} if args.source else {})}
    path = CONFIGS / f'{method}{SUFFIX}.py'
    data = None if args.data == 'bluemarble' else args.data
    return load_config(path, options, overlay=data, data_root=args.data_root)


def describe(config: 'Config') -> dict[str, str | float]:
    """What the method starts from and how much of it is trained.

    Raises:
        CrossEarthError: Its data or weights are not on this machine.
    """
    from crossearth.engine.complete import complete_config
    from crossearth.engine.runner import preflight
    from crossearth.registry import MODELS

    config = complete_config(config.copy())
    preflight(config)
    model = MODELS.build(config.model)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {'pre-trained': str(getattr(model.backbone, 'weights', None) or 'random'),
            'trained, M': trained / 1e6}


def write_table(runs: list['Trial'], described: dict[str, dict[str, Any]],
                args: argparse.Namespace) -> str:
    """Write summary.md, summary.csv and summary.json of what is finished; give the first."""
    from crossearth.engine.experiments import costs
    from crossearth.engine.run_facts import machine_facts
    from crossearth.evaluation import SpreadTable

    remarks = {}
    for method, facts in described.items():
        spent = [costs(run.folder) for run in runs if run.cell == method and run.begun()]
        remarks[method] = facts | {
            title: median_of(key, spent) for key, title in COSTS.items()}
    return SpreadTable.of_runs(runs, remarks).write(
        args.table, data=args.data, source=args.source or SOURCE, iters=args.iters or ITERS,
        jobs=args.jobs, **machine_facts())


def median_of(key: str, spent: list[dict[str, float]]) -> float | str:
    """The median over the seeds of what a method cost."""
    values = [cost[key] for cost in spent if key in cost]
    return statistics.median(values) if values else 'n/a'


if __name__ == '__main__':
    run_tool(main)
