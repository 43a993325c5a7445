#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Prepare CASID: the same as `crossearth data prepare casid`.

Example:
    python tools/prepare_casid.py --src downloads --dst data/casid
"""

import sys

from crossearth.cli.main import main

if __name__ == '__main__':
    sys.exit(main(['data', 'prepare', 'casid', *sys.argv[1:]]))
