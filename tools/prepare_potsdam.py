#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Prepare ISPRS Potsdam: the same as `crossearth data prepare potsdam`.

Example:
    python tools/prepare_potsdam.py --src downloads --dst data/potsdam
"""

import sys

from crossearth.cli.main import main

if __name__ == '__main__':
    sys.exit(main(['data', 'prepare', 'potsdam', *sys.argv[1:]]))
