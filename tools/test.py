#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Test a checkpoint on every target domain of a config in one pass, and report each.

Example:
    python tools/test.py configs/demo/crossearth_subtropical_monsoon.py work_dirs/first/iter_400.pth
"""

import argparse
from pathlib import Path

from crossearth.engine.cli import run_tool


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    from mmengine.config import DictAction
    parser = argparse.ArgumentParser(
        description='Test a checkpoint on every target domain of a config.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='folder of the report '
                                           '(default: that of the checkpoint)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='override settings of the config')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm'], default='none',
                        help='how the processes were started (tools/dist_test.sh sets it)')
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0,
                        help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Test."""
    args = parse_args()
    from crossearth.engine.config import load_config
    from crossearth.engine.runner import build_runner

    cfg = load_config(args.config, args.cfg_options)
    cfg.work_dir = args.work_dir or str(Path(args.checkpoint).parent)
    build_runner(cfg, launcher=args.launcher, checkpoint=args.checkpoint).test()


if __name__ == '__main__':
    run_tool(main)
