#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Prepare WHU Building: the same as `crossearth data prepare whu`.

Example:
    python tools/prepare_whu.py --src downloads --dst data/whu
"""

import sys

from crossearth.cli.main import main

if __name__ == '__main__':
    sys.exit(main(['data', 'prepare', 'whu', *sys.argv[1:]]))
