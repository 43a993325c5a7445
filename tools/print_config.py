#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Print a config as a run would see it: bases merged, options applied, everything checked.

Example:
    python tools/print_config.py configs/demo/crossearth_subtropical_monsoon.py
"""

import argparse

from crossearth.engine.cli import run_tool


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(description='Print a config with its bases merged.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='override settings of the config, e.g. train_cfg.max_iters=20')
    return parser.parse_args()


def main() -> None:
    """Print the config."""
    args = parse_args()
    from crossearth.engine.complete import complete_config
    from crossearth.engine.config import load_config

    print(complete_config(load_config(args.config, args.cfg_options)).pretty_text)


if __name__ == '__main__':
    run_tool(main)
