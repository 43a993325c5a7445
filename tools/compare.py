#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Train and test several methods on the same data, seeds and iterations, and tabulate them.

Each run is a training and its test in a process of their own. The same command goes on where it was
interrupted, and does nothing again whose config has not changed. Runs go seed by seed, so that what
is interrupted compares all methods. With several sources each gets a table, and they get a joint
one; differences to a baseline are paired by source and seed.

Example:
    python tools/compare.py --methods deeplabv2 daformer hrda mtp rein crossearth \
        --data bluemarble --source subtropical_monsoon --seeds 0 1 2
"""

import argparse
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from crossearth.engine.cli import add_experiment_options, run_tool

if TYPE_CHECKING:
    from mmengine.config import Config

    from crossearth.engine.experiments import Trial
    from crossearth.evaluation.study import Study, StudyRun

TOOLS = Path(__file__).resolve().parent
CONFIGS = TOOLS.parent / 'configs' / 'demo'
TABLES = TOOLS.parent / 'benchmarks' / 'accuracy'
SUFFIX = '_subtropical_monsoon'  # the source for which every method has a config
BASELINE = 'rein'
ITERS = 300
RECORDS = 'reports'  # folder of the tables' runs: what is there is not run again
COSTS = {'seconds': 's/iteration', 'memory_mb': 'peak memory, MB'}
# what a config of data says beside its data is the method's own affair
NOT_DATA = ('custom_hooks', 'default_hooks', 'model', 'optim_wrapper', 'param_scheduler',
            'train_cfg')


@dataclass
class Plan:
    """What is compared.

    Args:
        runs: All runs, in their order.
        sources: `Trial.source`, empty for the only one -> the domain that it trains on.
        facts: Columns of each method that say what it is.
        titles: Name of each method for readers.
    """

    runs: list['Trial'] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    facts: dict[str, dict[str, str | float]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    methods = sorted(path.stem.removesuffix(SUFFIX) for path in CONFIGS.glob(f'*{SUFFIX}.py'))
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n\n')[0], epilog=f"methods: {', '.join(methods)}")
    parser.add_argument('--methods', nargs='+', required=True, metavar='METHOD', choices=methods,
                        help='rows of the table, in this order')
    parser.add_argument('--baseline', metavar='METHOD', choices=methods,
                        help='row that the others are compared with, pair by pair (default: rein, '
                             'if it is among them)')
    parser.add_argument('--data', default='bluemarble', metavar='bluemarble|CONFIG',
                        help='BlueMarble-Climate, or a config whose data take its place')
    parser.add_argument('--source', nargs='+', metavar='DOMAIN',
                        help='domain to train on, or several, one after the other (default: '
                             "subtropical_monsoon, or the data config's)")
    parser.add_argument('--table', type=Path, metavar='DIR',
                        help='folder of the table (default: named like --out, in '
                             'benchmarks/accuracy)')
    parser.add_argument('--records', type=Path, metavar='DIR',
                        help='folder of the reports that are kept, so that several tables share '
                             'their runs (default: reports in --table)')
    add_experiment_options(parser)
    args = parser.parse_args()
    if args.baseline and args.baseline not in args.methods:
        parser.error(f'--baseline {args.baseline} is not among --methods')
    if args.baseline is None and BASELINE in args.methods:
        args.baseline = BASELINE
    return args


def main() -> None:
    """Run what is missing, and write the tables after each run."""
    args = parse_args()
    from crossearth import compat
    from crossearth.engine.experiments import run_all, what_is_left

    compat.apply()
    args.iters = args.iters or ITERS
    several = [f'{len(args.source)}sources'] if len(args.source or ()) > 1 else args.source or []
    name = '_'.join(['compare', Path(args.data).stem, *several, str(args.iters)])
    args.out = args.out or Path('work_dirs', name)
    args.table = args.table or TABLES / name
    args.records = args.records or args.table / RECORDS
    plan = make_plan(args)

    def after_each(line: str) -> None:
        print(line, flush=True)
        write_tables(plan, args)

    left = run_all(plan.runs, TOOLS, after_each, args.jobs, args.minutes)
    print(write_tables(plan, args))
    draw_differences(plan, args)
    if left:
        print(what_is_left(left, plan.runs))


def make_plan(args: argparse.Namespace) -> Plan:
    """Make and check the configs of all runs, before the first one starts; describe the methods."""
    from crossearth.engine.complete import complete_config
    from crossearth.engine.experiments import plan_trial
    from crossearth.engine.run_facts import method_name
    from crossearth.errors import ConfigError

    plan, batches = Plan(), {}
    sources = list(dict.fromkeys(args.source or [None]))
    for seed in args.seeds:
        for source in sources:
            for method in args.methods:
                config = read_method(method, args, source, seed)
                name = source if len(sources) > 1 else ''
                if method not in plan.facts or name not in plan.sources:
                    completed = complete_config(config)
                    batches[method] = config.train_dataloader.batch_size
                    plan.facts[method] = describe(completed)
                    plan.titles[method] = method_name(config.model)
                    plan.sources[name] = source or ', '.join(completed.test_evaluator.source)
                plan.runs.append(plan_trial(
                    method, seed, config, args.out, args.iters, name, args.records))
    if len(set(batches.values())) > 1:
        raise ConfigError(f'the methods do not see the same number of images: batch sizes are '
                          f'{batches}. Set --cfg-options train_dataloader.batch_size=N.')
    return plan


def read_method(
    method: str, args: argparse.Namespace, source: str | None, seed: int
) -> 'Config':
    """Read the config of a method, with the data and the source that were asked for."""
    from crossearth.engine.config import load_config

    options = {**(args.cfg_options or {}), 'randomness.seed': seed,
               **({'source': [source]} if source else {})}
    data = None if args.data == 'bluemarble' else read_data(args.data)
    return load_config(CONFIGS / f'{method}{SUFFIX}.py', options, overlay=data,
                       data_root=args.data_root)


def read_data(path: str) -> 'Config':
    """Read the data of a config, and whether its tests slide, which hangs on the size of images."""
    from crossearth.engine.config import load_config

    config = load_config(path)
    test_cfg = config.get('model', {}).get('test_cfg')
    for key in NOT_DATA:
        config.pop(key, None)
    if test_cfg:
        config.model = dict(test_cfg=test_cfg)
    return config


def describe(config: 'Config') -> dict[str, str | float]:
    """What the method of a completed config starts from and how much of it is trained.

    Raises:
        CrossEarthError: Its data or weights are not on this machine.
    """
    from crossearth.engine.runner import preflight
    from crossearth.registry import MODELS

    preflight(config)
    model = MODELS.build(config.model)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {'pre-trained': str(getattr(model.backbone, 'weights', None) or 'random'),
            'trained, M': trained / 1e6}


def write_tables(plan: Plan, args: argparse.Namespace) -> str:
    """Write the tables of what is finished; give the first of them and the differences."""
    from crossearth.engine.run_facts import machine_facts
    from crossearth.evaluation import SpreadTable

    facts = {'data': args.data, 'iters': args.iters, 'jobs': args.jobs, **machine_facts()}
    study = study_of(plan, args)
    study.write_runs(args.table)
    compared = study.write_differences(args.table)
    for name, source in plan.sources.items():
        runs = [run for run in plan.runs if run.source == name]
        text = SpreadTable.of_runs(runs, with_costs(plan, runs)).write(
            args.table / name, source=source, **facts,
            **({} if name else {'differences': study.differences_data()}))
    if len(plan.sources) > 1:
        text = study.write_means(args.table, sources=study.sources, **facts)
    return f'{text}\n{compared}'


def study_of(plan: Plan, args: argparse.Namespace) -> 'Study':
    """Read what is finished."""
    from crossearth.evaluation.study import Study

    runs = [read_run(plan.sources[run.source], run) for run in plan.runs if run.finished()]
    return Study(runs, args.methods, list(plan.sources.values()), args.baseline,
                 with_costs(plan, plan.runs))


def read_run(source: str, run: 'Trial') -> 'StudyRun':
    """Read a finished run, with what its numbers are traced by."""
    from crossearth.evaluation import read_report
    from crossearth.evaluation.study import StudyRun

    told = json.loads(run.result.read_text(encoding='utf-8')).get('run', {})
    made = run.facts()
    facts = {'iters': run.iters, 'seconds per iteration': made.get('seconds', ''),
             **{key: told.get(key, '') for key in ('config_sha256', 'checkpoint_sha256')},
             **{key: made.get(key) or '' for key in ('machine', 'date', 'commit')}}
    return StudyRun(source, run.cell, run.seed, read_report(run.result), facts)


def with_costs(plan: Plan, runs: list['Trial']) -> dict[str, dict[str, str | float]]:
    """What each method is, and the median of what some runs of it cost."""
    columns = {}
    for method, facts in plan.facts.items():
        spent = [run.facts() for run in runs if run.cell == method and run.finished()]
        columns[method] = facts | {title: median_of(key, spent) for key, title in COSTS.items()}
    return columns


def draw_differences(plan: Plan, args: argparse.Namespace) -> None:
    """Draw the differences on unseen domains beside the tables, if any pair is finished."""
    from crossearth.evaluation.spread import UNSEEN
    from crossearth.visualization.forest import forest_chart
    from crossearth.visualization.pictures import save_picture

    study = study_of(plan, args)
    rows = {plan.titles[method]: row[UNSEEN] for method, row in study.differences.items()}
    if any(found.pairs for found in rows.values()):
        save_picture(forest_chart(
            rows, plan.titles[args.baseline], f'{study.primary} points, mean over unseen domains'),
            args.table / 'differences.png')


def median_of(key: str, spent: list[dict[str, float]]) -> float | str:
    """The median over the seeds of what a method cost."""
    values = [cost[key] for cost in spent if key in cost]
    return statistics.median(values) if values else 'n/a'


if __name__ == '__main__':
    run_tool(main)
