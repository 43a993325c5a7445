#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Prepare DeepGlobe Road: the same as `crossearth data prepare deepglobe`.

Example:
    python tools/prepare_deepglobe.py --src downloads --dst data/deepglobe
"""

import sys

from crossearth.cli.main import main

if __name__ == '__main__':
    sys.exit(main(['data', 'prepare', 'deepglobe', *sys.argv[1:]]))
