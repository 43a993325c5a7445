#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Prepare LoveDA: the same as `crossearth data prepare loveda`.

Example:
    python tools/prepare_loveda.py --download --dst data/loveda
"""

import sys

from crossearth.cli.main import main

if __name__ == '__main__':
    sys.exit(main(['data', 'prepare', 'loveda', *sys.argv[1:]]))
