# SPDX-License-Identifier: Apache-2.0
"""`python -m crossearth` is the command `crossearth`."""

import sys

from crossearth.cli.main import main

if __name__ == '__main__':
    sys.exit(main())
