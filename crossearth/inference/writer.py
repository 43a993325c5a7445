# SPDX-License-Identifier: Apache-2.0
"""Finished rows -> GeoTIFF: whole under its name, or not there at all.

The profile is built afresh. One that is copied from the input brings along what a map of classes
cannot have: the nodata value of another type, JPEG or YCbCr, twelve bits.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crossearth.errors import RasterError
from crossearth.inference.stream import NO_DATA

__all__ = ['BLOCK', 'Grid', 'RasterWriter', 'write_style']

BLOCK = 512  # px, side of the blocks in the file
TEMPORARY = '.part'


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a map lie.

    Args:
        height: Rows.
        width: Columns.
        crs: Coordinate system of rasterio, or None.
        transform: Affine transform of rasterio, pixel -> coordinates.
        gcps: Ground control points where there is no transform.
        area_or_point: `Area` or `Point`, as GDAL names it.
    """

    height: int
    width: int
    crs: Any = None
    transform: Any = None
    gcps: Sequence[Any] = ()
    area_or_point: str | None = None


class RasterWriter:
    """Write one uint8 GeoTIFF from top to bottom.

    A context manager: the file appears under its name when the block ends well, and nothing is left
    when it does not. Rows are collected into whole blocks, since a compressed block that is written
    twice leaves a hole in the file.

    Args:
        path: The file.
        grid: Georeferencing.
        bands: Names of the bands.
        colors: Colour table of a single band, class -> (r, g, b).
        tags: Text to keep in the file.
        cog: Write a Cloud Optimized GeoTIFF with overviews.
        overwrite: Replace an existing file.

    Raises:
        RasterError: The file exists, or it cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        grid: Grid,
        *,
        bands: Sequence[str] = ('class',),
        colors: Sequence[Sequence[int]] | None = None,
        tags: Mapping[str, str] | None = None,
        cog: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.grid = grid
        self.bands = tuple(bands)
        self.colors = colors
        self.tags = dict(tags or {})
        self.cog = cog
        self.temporary = self.path.with_name(self.path.name + TEMPORARY)
        self.next_row = 0
        self.buffer: list[np.ndarray] = []
        if self.path.exists() and not overwrite:
            raise RasterError(f'{self.path} exists. Give --overwrite to replace it, or another '
                              'name.')

    def __enter__(self) -> 'RasterWriter':
        """Create the temporary file."""
        import rasterio

        profile = {
            'driver': 'GTiff', 'dtype': 'uint8', 'nodata': NO_DATA, 'count': len(self.bands),
            'height': self.grid.height, 'width': self.grid.width, 'crs': self.grid.crs,
            'tiled': True, 'blockxsize': BLOCK, 'blockysize': BLOCK, 'compress': 'deflate',
            'bigtiff': 'if_safer', 'interleave': 'band'}
        if self.grid.transform is not None:
            profile['transform'] = self.grid.transform
        if self.grid.gcps:
            profile['gcps'] = list(self.grid.gcps)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.file = rasterio.open(self.temporary, 'w', **profile)
            self._describe()
        except (rasterio.errors.RasterioError, OSError) as error:
            raise self._failure(error) from error
        return self

    def write(self, first: int, rows: np.ndarray) -> None:
        """Append rows.

        Args:
            first: Row of the raster where they belong; rows come in order and without gaps.
            rows: (rows, width), or (bands, rows, width), uint8.
        """
        rows = rows if rows.ndim == 3 else rows[None]
        held = sum(part.shape[1] for part in self.buffer)
        if first != self.next_row + held:
            raise ValueError(f'rows start at {first}, expected {self.next_row + held}')
        self.buffer.append(rows)
        held += rows.shape[1]
        end = self.next_row + held == self.grid.height
        whole = held if end else held - held % BLOCK
        if whole:
            data = np.concatenate(self.buffer, axis=1)
            self._write(data[:, :whole])
            self.buffer = [data[:, whole:]] if whole < held else []

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Give the file its name, or remove what there is of it."""
        import rasterio

        try:
            if kind is None and self.next_row < self.grid.height:
                raise ValueError(f'{self.next_row} of {self.grid.height} rows were written')
            self.file.close()  # what is cached is written here, and a full disk shows here
            if kind is None:
                self._publish()
        except (rasterio.errors.RasterioError, OSError) as error:
            if kind is None:
                raise self._failure(error) from error
        finally:
            self.temporary.unlink(missing_ok=True)

    def _describe(self) -> None:
        tags = dict(self.tags)
        if self.grid.area_or_point:
            tags['AREA_OR_POINT'] = self.grid.area_or_point
        self.file.update_tags(**tags)
        for number, name in enumerate(self.bands, 1):
            self.file.set_band_description(number, name)
        if self.colors is not None:
            table = {index: (*color, 255) for index, color in enumerate(self.colors)}
            self.file.write_colormap(1, {**table, NO_DATA: (0, 0, 0, 0)})

    def _write(self, data: np.ndarray) -> None:
        import rasterio
        from rasterio.windows import Window

        window = Window(0, self.next_row, self.grid.width, data.shape[1])
        try:
            self.file.write(data, window=window)
        except (rasterio.errors.RasterioError, OSError) as error:
            raise self._failure(error) from error
        self.next_row += data.shape[1]

    def _publish(self) -> None:
        """Rename the temporary file; a COG is a copy of it, made beside it first."""
        if self.cog:
            from rasterio import shutil as raster_shutil

            plain = self.temporary.with_name(self.temporary.name + '.plain')
            self.temporary.replace(plain)
            try:
                raster_shutil.copy(
                    plain, self.temporary, driver='COG', compress='deflate', blocksize=BLOCK,
                    overview_resampling='nearest', bigtiff='if_safer')
            finally:
                plain.unlink(missing_ok=True)
        with self.temporary.open('rb') as file:
            os.fsync(file.fileno())
        self.temporary.replace(self.path)

    def _failure(self, error: Exception) -> RasterError:
        needed = self.grid.height * self.grid.width * len(self.bands)
        free = shutil.disk_usage(self.path.parent).free if self.path.parent.is_dir() else 0
        cause = error.__cause__ or error
        return RasterError(
            f'{self.path} cannot be written: {cause}. It needs up to {_megabytes(needed)}, and '
            f'{_megabytes(free)} are free. Free space, check that the folder is writable, or '
            'choose another output. Nothing was left under that name.')


def write_style(path: Path, classes: Sequence[str], palette: Sequence[Sequence[int]]) -> Path:
    """Write a QGIS style (`.qml`) beside a map, so that it opens with colours and class names.

    Args:
        path: The map.
        classes: Names of the classes.
        palette: Their colours, (r, g, b) in 0..255.

    Returns:
        The style file.
    """
    from xml.sax.saxutils import quoteattr

    entries = '\n'.join(
        f'        <paletteEntry value="{index}" alpha="255" label={quoteattr(name)} '
        f'color="#{red:02x}{green:02x}{blue:02x}"/>'
        for index, (name, (red, green, blue)) in enumerate(zip(classes, palette, strict=True)))
    style = path.with_suffix('.qml')
    style.write_text(f'''<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>
<qgis version="3.22" styleCategories="Symbology">
  <pipe>
    <rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1" nodataColor="">
      <colorPalette>
{entries}
      </colorPalette>
    </rasterrenderer>
  </pipe>
</qgis>
''', encoding='utf-8')
    return style


def _megabytes(size: int) -> str:
    return f'{size / 1e6:,.0f} MB'
