# SPDX-License-Identifier: Apache-2.0
"""Build BlueMarble-Climate, the embedded cross-climate benchmark."""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from crossearth.datasets.bluemarble import CLIMATE_ZONES, BlueMarbleClimate
from crossearth.datasets.bluemarble_build import build
from crossearth.errors import CrossEarthError


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--out', default=Path(os.environ.get('CROSSEARTH_DATA', 'data'), 'bluemarble_climate'),
        help='folder of the data set (default: %(default)s)')
    parser.add_argument('--force', action='store_true', help='build again what is up to date')
    return parser.parse_args()


def table_of(index: dict) -> Table:
    """Tiles of each domain and split, and the share of each class in the labelled pixels."""
    table = Table(
        title='Tiles, and classes in % of labelled pixels', box=None, padding=(0, 1, 0, 0))
    table.add_column('climate', no_wrap=True)
    for column in ('train', 'test', *(name.split('_')[0] for name in index['classes'])):
        table.add_column(column, justify='right', no_wrap=True)
    default = BlueMarbleClimate.DEFAULT_DOMAINS
    for domain in (*default, *(name for name in CLIMATE_ZONES if name not in default)):
        rows = [index['summary'][split][domain] for split in ('train', 'test')]
        counts = np.sum([row['class_counts'][:-1] for row in rows], axis=0)
        table.add_row(domain, *(str(row['tiles']) for row in rows),
                      *(f'{share:.1f}' for share in 100 * counts / counts.sum()),
                      end_section=domain == default[-1])
    return table


def main() -> int:
    """Build and report; 2 means that the user can mend what went wrong."""
    args, start, console = parse_args(), time.perf_counter(), Console()
    try:
        index = build(args.out, force=args.force)
    except CrossEarthError as error:
        print(error, file=sys.stderr)
        return 2
    console.print(table_of(index))
    console.print('The first four are the default. Pixels are about 5.6 km wide and labels are a '
                  'MODIS product: a small stand-in for the cross-climate question, not for '
                  'metre-scale imagery.')
    done = 'is up to date' if index['reused'] else 'was built'
    console.print(f'{args.out} {done} ({time.perf_counter() - start:.1f} s).')
    return 0


if __name__ == '__main__':
    sys.exit(main())
