#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Prepare ISPRS Vaihingen: the same as `crossearth data prepare vaihingen`.

Example:
    python tools/prepare_vaihingen.py --src downloads --dst data/vaihingen
"""

import sys

from crossearth.cli.main import main

if __name__ == '__main__':
    sys.exit(main(['data', 'prepare', 'vaihingen', *sys.argv[1:]]))
