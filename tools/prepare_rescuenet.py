#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Prepare RescueNet: the same as `crossearth data prepare rescuenet`.

Example:
    python tools/prepare_rescuenet.py --src downloads --dst data/rescuenet
"""

import sys

from crossearth.cli.main import main

if __name__ == '__main__':
    sys.exit(main(['data', 'prepare', 'rescuenet', *sys.argv[1:]]))
