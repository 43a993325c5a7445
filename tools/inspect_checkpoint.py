#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Say what a file of weights is and holds; nothing of it is executed.

Example:
    python tools/inspect_checkpoint.py weights/casid-tms-source.pth --keys
"""

import argparse
from pathlib import Path

from crossearth.engine.cli import run_tool


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Say what a file of weights is and holds.')
    parser.add_argument('file', help='.pth or .safetensors file')
    parser.add_argument('--keys', action='store_true', help='list every tensor and its shape')
    parser.add_argument('--trust-checkpoint', action='store_true',
                        help='load it even if it can run code on this machine')
    return parser.parse_args()


def main() -> None:
    """Inspect."""
    args = parse_args()
    from crossearth.weights.inspection import describe

    print(describe(Path(args.file), keys=args.keys, trust=args.trust_checkpoint))


if __name__ == '__main__':
    run_tool(main)
