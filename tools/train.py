#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Train the model of a config.

Example:
    python tools/train.py configs/demo/crossearth_subtropical_monsoon.py --work-dir work_dirs/first
"""

import argparse
from pathlib import Path

from crossearth.engine.cli import run_tool


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    from mmengine.config import DictAction
    parser = argparse.ArgumentParser(description='Train the model of a config.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder of logs and checkpoints '
                                           '(default: work_dirs/<name of the config>)')
    parser.add_argument('--resume', nargs='?', const='always', choices=['always', 'auto'],
                        help='go on from the newest valid checkpoint in the work directory; with '
                             "'auto', start anew where there is none")
    parser.add_argument('--amp', action='store_true', help='mixed precision (bfloat16)')
    parser.add_argument('--seed', type=int, help='seed of all random numbers')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='override settings of the config, e.g. train_cfg.max_iters=20')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none',
                        help='how the processes were started (tools/dist_train.sh sets it)')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0,
                        help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Train."""
    args = parse_args()
    from crossearth.engine.checkpoint_files import list_checkpoints
    from crossearth.engine.config import load_config
    from crossearth.engine.runner import build_runner
    from crossearth.errors import ConfigError

    cfg = load_config(args.config, args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    if args.seed is not None:
        cfg.randomness.seed = args.seed
    if args.amp:
        cfg.optim_wrapper.type = 'BF16OptimWrapper'
    if args.resume:
        cfg.resume = bool(list_checkpoints(cfg.work_dir))
        if args.resume == 'auto' and not cfg.resume:
            print(f'--resume auto: no checkpoint in {cfg.work_dir}, so the training starts anew.')
        elif not cfg.resume:
            raise ConfigError(
                f'--resume: no checkpoint in {cfg.work_dir}. Leave --resume out to start from the '
                'beginning, or give the --work-dir of the run that was interrupted.')
    build_runner(cfg, launcher=args.launcher).train()


if __name__ == '__main__':
    run_tool(main)
