#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Train the model of a config, and test its last iteration.

Example:
    python tools/train.py configs/demo/crossearth_subtropical_monsoon.py --work-dir work_dirs/first
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from crossearth.engine.cli import (
    add_run_options,
    config_parser,
    loading_options,
    read_config,
    run_tool,
)

if TYPE_CHECKING:
    from mmengine.config import Config

SCHEDULES = Path(__file__).resolve().parents[1] / 'configs' / '_base_' / 'schedules'
DTYPES = {'bf16': 'bfloat16', 'fp16': 'float16'}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = config_parser('Train the model of a config, and test its last iteration.')
    add_run_options(parser, 'folder of logs, checkpoints and report '
                            '(default: work_dirs/<folder of the config>/<its name>)')
    parser.add_argument('--schedule', metavar='paper|published|FILE',
                        help='optimiser and learning rate of the paper, of the published configs, '
                             "or of a config (default: the config's own)")
    parser.add_argument('--resume', nargs='?', const='always', choices=['always', 'auto'],
                        help='go on from the newest valid checkpoint in the work directory; with '
                             "'auto', start anew where there is none")
    parser.add_argument('--amp', nargs='?', const='bf16', choices=DTYPES,
                        help='mixed precision: bf16 (default) or fp16')
    parser.add_argument('--seed', type=int, help='seed of all random numbers')
    parser.add_argument('--no-test', dest='test', action='store_false',
                        help='only train; the test data need not be there')
    return parser.parse_args()


def main() -> None:
    """Train and test."""
    args = parse_args()
    from crossearth.engine.checkpoint_files import list_checkpoints
    from crossearth.engine.runner import build_runner, evaluate_trained
    from crossearth.errors import ConfigError

    cfg = read_config(args)
    if args.schedule:
        cfg = read_config(args, overlay=schedule_file(args.schedule, cfg))
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or default_work_dir(args.config)
    if args.seed is not None:
        cfg.randomness.seed = args.seed
    if args.amp:
        cfg.optim_wrapper.update(type='AutocastOptimWrapper', dtype=DTYPES[args.amp])
    if args.resume:
        cfg.resume = bool(list_checkpoints(cfg.work_dir))
        if args.resume == 'auto' and not cfg.resume:
            print(f'--resume auto: no checkpoint in {cfg.work_dir}, so the training starts anew.')
        elif not cfg.resume:
            raise ConfigError(
                f'--resume: no checkpoint in {cfg.work_dir}. Leave --resume out to start from the '
                'beginning, or give the --work-dir of the run that was interrupted.')
    test = args.test and cfg.get('test_dataloader') is not None
    runner = build_runner(cfg, launcher=args.launcher, test=test, **loading_options(args))
    runner.train()
    if test:
        evaluate_trained(runner)


def default_work_dir(config: str) -> str:
    """Give a folder of its own to configs of one name in several folders (crossearth, rein)."""
    path = Path(config).resolve()
    return str(Path('work_dirs', path.parent.name, path.stem))


def schedule_file(name: str, cfg: 'Config') -> str:
    """Give the file of a schedule, of the config's crop where it depends on it."""
    from crossearth.errors import ConfigError

    if name == 'paper':
        return str(SCHEDULES / 'paper.py')
    if name != 'published':
        return name
    crop = max(cfg.crop_size)
    file = SCHEDULES / f'published_{crop}.py'
    if not file.is_file():
        raise ConfigError(
            f'--schedule published: there is one for crops of 512 and of 1024 px, not of {crop}. '
            'Give --schedule paper or a file, e.g. configs/_base_/schedules/published_512.py.')
    return str(file)


if __name__ == '__main__':
    run_tool(main)
