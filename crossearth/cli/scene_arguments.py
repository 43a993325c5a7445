# SPDX-License-Identifier: Apache-2.0
"""Arguments that several commands have in common: scenes, a model, and how scenes are read."""

import argparse
from typing import Any

__all__ = ['TILES', 'add_model', 'add_reading_options', 'add_scenes']

TILES = 256  # that the gap of a scene is measured on


def add_scenes(parser: Any) -> None:
    """Add the scenes."""
    parser.add_argument('scenes', nargs='+', metavar='SCENE',
                        help='rasters, folders, patterns, https:// or s3:// addresses')


def add_model(parser: Any, *, required: bool = False) -> None:
    """Add `-m`."""
    parser.add_argument('-m', '--model', required=required, metavar='BUNDLE',
                        help='a model bundle: folder of crossearth export bundle')


def add_reading_options(group: Any) -> None:
    """Add the options that say how a scene is read."""
    group.add_argument('--bands', type=_bands, metavar='N,N,N',
                       help="numbers of the bands, from 1, in the model's order, e.g. 4,1,2")
    group.add_argument('--scale', type=_scale, metavar='LO,HI',
                       help='values that become 0 and 255, for other than 8-bit data; HI alone '
                            'starts at 0')
    group.add_argument('--gsd', default='native', metavar='model|native|M',
                       help="pixel size to work at: the model's, the raster's (default), or metres")
    group.add_argument('--aoi', metavar='FILE',
                       help='map only what lies inside the polygons of this vector file')
    group.add_argument('--on-bad-tile', choices=('fail', 'nodata'), default='fail',
                       help='what becomes of places that cannot be read (default: %(default)s)')


def _bands(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(',')]
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is no list such as 4,1,2') from None


def _scale(text: str) -> tuple[float, float]:
    try:
        values = [float(part) for part in text.split(',')]
        low, high = values if len(values) > 1 else (0.0, *values)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is neither LO,HI nor HI') from None
    return low, high
