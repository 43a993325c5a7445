#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Prepare Massachusetts Roads: the same as `crossearth data prepare massachusetts`.

Example:
    python tools/prepare_massachusetts.py --src downloads --dst data/massachusetts
"""

import sys

from crossearth.cli.main import main

if __name__ == '__main__':
    sys.exit(main(['data', 'prepare', 'massachusetts', *sys.argv[1:]]))
