# SPDX-License-Identifier: Apache-2.0
"""What comes in over the network -> a raster that is safe to read, or a refusal in plain words.

A raster can do harm before its pixels mean anything: a VRT names other files, a small PNG unpacks
to gigabytes, a GeoTIFF can say that its overviews lie at any path or address. So a format is told
by its first bytes and opened by that driver alone, sizes are capped before anything is decoded, and
GDAL gets no neighbours to look at and no network.
"""

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from crossearth.errors import ConfigError, RasterError
from crossearth.inference.raster import open_raster

__all__ = ['MAX_PIXELS', 'TooLargeError', 'check_raster', 'clean_name', 'limit_gdal',
           'read_options', 'receive']

MAX_PIXELS = 250_000_000
MAX_UNPACKED = 2_000_000_000  # bytes
# of the formats that are read: no other one is ever opened
SIGNATURES = {b'II*\0': '.tif', b'MM\0*': '.tif', b'II+\0': '.tif', b'MM\0+': '.tif',
              b'\x89PNG\r\n\x1a\n': '.png', b'\xff\xd8\xff': '.jpg'}
# a second line of defence, for the whole process and all of its threads
GDAL_LIMITS = {
    'GDAL_DISABLE_READDIR_ON_OPEN': 'EMPTY_DIR',       # no .ovr, .msk, .tfw beside a file
    'GDAL_PAM_ENABLED': 'NO',                          # no .aux.xml
    'CPL_VSIL_CURL_ALLOWED_EXTENSIONS': '{nothing}',   # no address
    'GDAL_SKIP': 'VRT,WMS,WMTS,WCS,HTTP,GTI,STACIT,STACTA,OGCAPI,EEDAI,DAAS,PLMOSAIC,NGW',
}
NUMBER = r'[-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?'


class TooLargeError(RasterError):
    """An upload has too many bytes or pixels."""


def limit_gdal() -> None:
    """Take GDAL's neighbour files, network and indirect formats away from this process.

    To be called before rasterio is imported: formats are registered once.
    """
    os.environ.update(GDAL_LIMITS)


def clean_name(name: str) -> str:
    """The name of an upload, fit for a header, a file name and a page: letters, digits, `._-`."""
    plain = re.sub(r'[^\w.-]+', '_', Path(name.replace('\\', '/')).name).strip('._-')
    return plain[:80] or 'scene'


def read_options(bands: str, scale: str, gsd: str) -> dict[str, object]:
    """The fields of the page as fields of `SceneOptions`; empty ones are left out.

    Args:
        bands: Such as `4,1,2`.
        scale: Such as `0,3000`.
        gsd: `native` or `model`.

    Raises:
        ConfigError: One is none of that.
    """
    options: dict[str, object] = {'gsd': gsd or 'native'}
    if options['gsd'] not in ('native', 'model'):
        raise ConfigError('Pixel size is either that of the file or that of the model.')
    if bands.strip():
        if not re.fullmatch(r'\s*\d{1,4}(\s*,\s*\d{1,4})*\s*', bands, re.ASCII):
            raise ConfigError('Bands are numbers from 1 with commas between them, such as 4,1,2.')
        options['bands'] = [int(part) for part in bands.split(',')]
    if scale.strip():
        if not re.fullmatch(rf'\s*{NUMBER}\s*,\s*{NUMBER}\s*', scale):
            raise ConfigError('Value range is two numbers with a comma between them, such as '
                              '0,3000.')
        low, high = scale.split(',')
        options['scale'] = float(low), float(high)
    return options


async def receive(
    chunks: AsyncIterator[bytes], folder: Path, limit: int, announced: int = 0
) -> Path:
    """Write an upload under a name of ours.

    Args:
        chunks: The bytes, as they come.
        folder: Where it goes.
        limit: Most bytes; counted as they come, whatever was announced.
        announced: Bytes that the sender says will come.

    Returns:
        The file, with the ending that its content deserves.

    Raises:
        TooLargeError: There are more bytes.
        RasterError: It is no GeoTIFF, PNG or JPEG.
    """
    path, size = folder / 'upload', 0
    too_large = TooLargeError(f'The file is larger than {limit / 1e6:,.6g} MB. Cut it, or use '
                              'crossearth predict, which takes any size.')
    if announced > limit:
        raise too_large
    with path.open('wb') as file:
        async for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise too_large
            file.write(chunk)
    with path.open('rb') as file:
        head = file.read(8)
    for signature, suffix in SIGNATURES.items():
        if head.startswith(signature):
            return path.rename(path.with_suffix(suffix))
    what = 'It is empty' if not size else 'Its content is neither GeoTIFF nor PNG nor JPEG'
    raise RasterError(f'{what}, whatever its name says. Choose another file.')


def check_raster(path: Path) -> None:
    """Refuse what would unpack to too much, from the header alone.

    Raises:
        TooLargeError: It has too many pixels, or too many bytes once unpacked.
        RasterError: It cannot be opened, or names other files.
    """
    with open_raster(path) as file:
        pixels = file.width * file.height
        unpacked = pixels * sum(np.dtype(kind).itemsize for kind in file.dtypes)
        if pixels > MAX_PIXELS or unpacked > MAX_UNPACKED:
            raise TooLargeError(
                f'The image has {file.width:,} x {file.height:,} pixels and {file.count} bands, '
                f'more than the {MAX_PIXELS / 1e6:,.0f} million pixels or '
                f'{MAX_UNPACKED / 1e9:,.0f} GB that are unpacked here. Cut it, or use crossearth '
                'predict, which takes any size.')
