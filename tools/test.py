#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Test a checkpoint on every target domain of a config in one pass, and report each.

Example:
    python tools/test.py configs/demo/crossearth_subtropical_monsoon.py work_dirs/first/iter_400.pth
"""

import argparse
from pathlib import Path

from crossearth.engine.cli import (
    add_run_options,
    config_parser,
    loading_options,
    read_config,
    run_tool,
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = config_parser('Test a checkpoint on every target domain of a config.')
    parser.add_argument('checkpoint', help='checkpoint file')
    add_run_options(parser, 'folder of the report (default: that of the checkpoint)')
    return parser.parse_args()


def main() -> None:
    """Test."""
    args = parse_args()
    from crossearth.engine.runner import build_runner

    cfg = read_config(args)
    cfg.work_dir = args.work_dir or str(Path(args.checkpoint).parent)
    build_runner(cfg, launcher=args.launcher, checkpoint=args.checkpoint,
                 **loading_options(args)).test()


if __name__ == '__main__':
    run_tool(main)
