#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Print a config as a run would see it: bases merged, options applied, everything checked.

Example:
    python tools/print_config.py configs/demo/crossearth_subtropical_monsoon.py
"""

from crossearth.engine.cli import config_parser, read_config, run_tool


def main() -> None:
    """Print the config."""
    args = config_parser('Print a config with its bases merged.').parse_args()
    from crossearth.engine.complete import complete_config

    print(complete_config(read_config(args)).pretty_text)


if __name__ == '__main__':
    run_tool(main)
