# SPDX-License-Identifier: Apache-2.0
"""Rasters as the network wants them: chosen bands in 0..255, and which pixels hold data.

What a file means (its band order, the range of its values, what is no data) is decided once for the
whole file, never from a tile: a tile that is normalised by its own content looks different from its
neighbour.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crossearth.errors import MissingDependencyError, RasterError
from crossearth.inference.ground import pixel_side, row_areas
from crossearth.inference.stream import Tile
from crossearth.inference.tiling import Window
from crossearth.inference.writer import Grid

__all__ = ['DRIVERS', 'REMOTE', 'RasterInfo', 'RasterReader', 'open_raster', 'raster_info']

# No VRT: it can name any other file or address. GDAL tries these and no other.
DRIVERS = ('GTiff', 'PNG', 'JPEG', 'JP2OpenJPEG')
REMOTE = ('http://', 'https://', 's3://', 'gs://', 'az://')


@dataclass(frozen=True)
class RasterInfo:
    """What a raster says about itself.

    Args:
        path: File or address.
        grid: Size and georeferencing.
        driver: GDAL's name of the format.
        count: Number of bands, without one of opacity.
        dtype: Type of the values.
        nodata: Value of pixels without data, or None.
        mask: What else marks pixels without data: `alpha`, `mask` or nothing.
        gsd_m: Side of a pixel on the ground in metres, at the centre of the raster, or None.
        warnings: What a user should know, in whole sentences.
        band_names: Descriptions of the bands, or what colour they are said to show.
    """

    path: str
    grid: Grid
    driver: str
    count: int
    dtype: str
    nodata: float | None
    mask: str
    gsd_m: float | None
    warnings: tuple[str, ...]
    band_names: tuple[str, ...] = ()


def raster_info(path: str | Path, *, remote: bool = False) -> RasterInfo:
    """Describe a raster from its header.

    Args:
        path: A file, or with `remote` an address that GDAL reads (https://, s3://, gs://, az://).
        remote: Allow addresses.

    Raises:
        RasterError: It is no raster of an allowed format.
        MissingDependencyError: rasterio is not installed.
    """
    with open_raster(path, remote) as file:
        warnings = []
        crs, transform, gcps = file.crs, file.transform, ()
        if file.gcps[0] and transform.is_identity:
            (gcps, crs), transform = file.gcps, None
            warnings.append('It is placed by ground control points only; the map keeps them.')
        elif transform.is_identity:
            transform = None
            warnings.append('It has no georeferencing: the map is in pixels.')
        elif crs is None:
            warnings.append('It names no coordinate system: the map has none either.')
        colors = [color.name for color in file.colorinterp]
        alpha = 'alpha' in colors
        masked = any(flag.name == 'per_dataset' for flags in file.mask_flag_enums for flag in flags)
        return RasterInfo(
            path=str(path),
            grid=Grid(file.height, file.width, crs, transform, tuple(gcps),
                      file.tags().get('AREA_OR_POINT')),
            driver=file.driver, count=file.count - alpha, dtype=file.dtypes[0],
            nodata=file.nodata, mask='alpha' if alpha else 'mask' if masked else '',
            gsd_m=pixel_side(crs, _placed(transform, gcps), file.height, file.width),
            warnings=tuple(warnings), band_names=tuple(
                text or color for text, color in zip(file.descriptions, colors, strict=True)))


class RasterReader:
    """Read windows of one raster, from any number of threads and processes.

    Args:
        path: As of `raster_info`.
        bands: Numbers of the bands, from 1, in the model's order; None takes the file's where it
            has as many as the model.
        expected: Names of the model's bands.
        scale: Lowest and highest value of the file's data, which become 0 and 255; None takes 8-bit
            values as they are.
        gsd_m: Resample to this pixel size in metres; None keeps the file's pixels.
        aoi: GeoJSON-like geometries in the raster's coordinates. The grid is cut to their bounds,
            and pixels outside count as no data.
        on_bad_tile: `fail`, or `nodata` to go on without a window that cannot be read.
        remote: Allow addresses.

    Raises:
        RasterError: The file does not fit the model, and which argument mends it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        bands: Sequence[int] | None = None,
        expected: Sequence[str] = ('R', 'G', 'B'),
        scale: tuple[float, float] | None = None,
        gsd_m: float | None = None,
        aoi: Sequence[Mapping[str, Any]] | None = None,
        on_bad_tile: str = 'fail',
        remote: bool = False,
    ) -> None:
        self.info = raster_info(path, remote=remote)
        self.bands = _chosen_bands(self.info, bands, expected)
        self.scale = _chosen_scale(self.info, scale)
        self.grid, self.factor = _resampled(self.info, gsd_m)
        self.offset = (0, 0)
        self.aoi = tuple(aoi) if aoi is not None else None
        if self.aoi is not None:
            self.grid, self.offset = _cut(self.grid, self.aoi, self.info.path)
        self.height, self.width = self.grid.height, self.grid.width
        self.on_bad_tile = on_bad_tile
        self.remote = remote
        self.bad_tiles: list[str] = []
        self._local = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file out: another process opens its own."""
        return {key: value for key, value in self.__dict__.items() if key != '_local'}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore everything but the open file."""
        self.__dict__.update(state)
        self._local = threading.local()

    def row_areas(self, first: int, count: int) -> np.ndarray | None:
        """Area of a pixel on the ground in each of `count` rows, see `ground.row_areas`."""
        transform = _placed(self.grid.transform, self.grid.gcps)
        return row_areas(self.grid.crs, transform, self.width, first, count)

    def preflight(self) -> None:
        """Read the last block: GDAL opens a truncated file without complaint.

        Raises:
            RasterError: It cannot be read.
        """
        size = min(self.height, self.width, 16)
        self._read(Window(self.height - size, self.width - size, size, size))

    def read(self, window: Window) -> Tile:
        """Read one window of the grid.

        Returns:
            The chosen bands in 0..255, float32, or uint8 where the file's values are taken as they
            are; without data they are 0.

        Raises:
            RasterError: The window cannot be read, and `on_bad_tile` is `fail`.
        """
        shape = window.height, window.width
        inside = self._inside_aoi(window)
        nothing = Tile(np.zeros((len(self.bands), *shape), np.uint8), np.zeros(shape, bool))
        if inside is not None and not inside.any():
            return nothing
        try:
            tile = self._read(window)
        except RasterError as error:
            if self.on_bad_tile == 'fail':
                raise
            self.bad_tiles.append(str(error))
            return nothing
        return tile if inside is None else Tile(tile.image, tile.valid & inside)

    def _read(self, window: Window) -> Tile:
        from rasterio.enums import Resampling
        from rasterio.errors import RasterioError

        fy, fx = self.factor
        row, col = window.row + self.offset[0], window.col + self.offset[1]
        place = (col / fx, row / fy, window.width / fx, window.height / fy)
        shape = window.height, window.width
        smooth = Resampling.average if fx < 1 else Resampling.bilinear
        try:
            file, place = self._file(), _exact(place)
            values = file.read(self.bands, window=place, out_shape=(len(self.bands), *shape),
                               resampling=Resampling.nearest if fx == fy == 1 else smooth)
            valid = _valid(file, place, shape)
        except (RasterioError, OSError, ValueError) as error:
            raise self._failure(window, error) from error
        if values.dtype.kind in 'fc':
            finite = np.isfinite(values)
            valid &= finite.all(0)
            values = np.where(finite, values, 0)
        if self.scale is not None:
            low, high = self.scale
            values = (values.astype(np.float32) - low) * np.float32(255 / (high - low))
            values = np.clip(values, 0, 255)
        if not valid.all():
            values *= valid
        return Tile(values, valid)

    def _file(self) -> Any:
        """The open file of this thread."""
        if getattr(self._local, 'file', None) is None:
            self._local.file = open_raster(self.info.path, self.remote)
        return self._local.file

    def _inside_aoi(self, window: Window) -> np.ndarray | None:
        if self.aoi is None:
            return None
        from rasterio.features import geometry_mask
        from rasterio.transform import Affine

        shift = Affine.translation(window.col, window.row)
        inside: np.ndarray = geometry_mask(
            self.aoi, (window.height, window.width),
            _placed(self.grid.transform, self.grid.gcps) * shift, invert=True)
        return inside

    def _failure(self, window: Window, error: Exception) -> RasterError:
        cause = error.__cause__ or error
        return RasterError(
            f'{self.info.path}: rows {window.row} to {window.row + window.height - 1}, columns '
            f'{window.col} to {window.col + window.width - 1} of the bands {list(self.bands)} '
            f'cannot be read ({cause}). The file is truncated or damaged: copy it again, or give '
            '--on-bad-tile nodata to leave such places empty.')


def open_raster(path: str | Path, remote: bool = False) -> Any:
    """Open a raster of an allowed format with rasterio.

    Args:
        path: As of `raster_info`.
        remote: As of `raster_info`.

    Raises:
        RasterError: It is no raster of an allowed format, or names another file to read.
        MissingDependencyError: rasterio is not installed.
    """
    try:
        import rasterio
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "reading rasters needs rasterio. Run: pip install 'crossearth[geo]'.") from error
    name = str(path)
    if not (remote and name.startswith(REMOTE)) and not Path(path).is_file():
        raise RasterError(f'There is no raster {name}. Correct the path.')
    import warnings

    errors = []
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', rasterio.errors.NotGeoreferencedWarning)
        for driver in DRIVERS:  # rasterio takes one at a time, and without one GDAL tries them all
            try:
                file = rasterio.open(path, driver=driver, sharing=False)
            except rasterio.errors.RasterioError as error:
                errors.append(error)
                continue
            # GDAL opens any path or address that this names, with any driver, once it reads thinned
            if file.tags(ns='OVERVIEWS'):
                file.close()
                raise RasterError(f'{name} says that its overviews lie in another file, which is '
                                  'not opened here. Save it again without them.')
            return file
    raise RasterError(
        f'{name} cannot be opened as a raster: {errors[0].__cause__ or errors[0]}. Formats that '
        f'are read: {", ".join(DRIVERS)}.') from errors[0]


def _valid(file: Any, place: Any, shape: tuple[int, int]) -> np.ndarray:
    """Which pixels of a window hold data, (h, w) bool; nothing is read where all of the file do."""
    from rasterio.enums import MaskFlags

    if all(flags == [MaskFlags.all_valid] for flags in file.mask_flag_enums):
        return np.ones(shape, bool)
    valid: np.ndarray = file.dataset_mask(window=place, out_shape=shape) > 0
    return valid


def _exact(place: tuple[float, float, float, float]) -> Any:
    """A window of rasterio, whole numbers where they are whole: fractions are resampled."""
    from rasterio.windows import Window as RasterWindow

    return RasterWindow(*(round(side) if abs(side - round(side)) < 1e-9 else side
                          for side in place))


def _cut(
    grid: Grid, aoi: Sequence[Mapping[str, Any]], path: str
) -> tuple[Grid, tuple[int, int]]:
    """The part of a grid that holds the geometries, and its first row and column."""
    from rasterio.features import bounds

    transform = _placed(grid.transform, grid.gcps)
    if transform is None:
        raise RasterError(f'{path} has no georeferencing, so no area of interest can be found in '
                          'it. Leave --aoi out, or georeference it.')
    boxes = np.array([bounds(shape, transform=~transform) for shape in aoi]).reshape(-1, 4)
    sides = []
    for axis, length in ((1, grid.height), (0, grid.width)):
        ends = boxes[:, [axis, axis + 2]]
        # rounding in the coordinates adds no row
        first = max(0, math.floor(ends.min(initial=length) + 1e-6))
        sides.append((first, min(length, math.ceil(ends.max(initial=0) - 1e-6)) - first))
    (row, height), (col, width) = sides
    if min(height, width) < 1:
        raise RasterError(f'The area of interest does not touch {path}. Check that both lie where '
                          'they should, and the coordinate system of the area.')
    shifted = grid.transform and grid.transform * grid.transform.translation(col, row)
    return Grid(height, width, grid.crs, shifted,
                _moved(grid.gcps, lambda y, x: (y - row, x - col)), grid.area_or_point), (row, col)


def _moved(
    gcps: Sequence[Any], move: Callable[[float, float], tuple[float, float]]
) -> tuple[Any, ...]:
    """Ground control points at other pixels."""
    from rasterio.control import GroundControlPoint

    return tuple(GroundControlPoint(*move(p.row, p.col), p.x, p.y, p.z) for p in gcps)


def _placed(transform: Any, gcps: Sequence[Any]) -> Any:
    if transform is None and gcps:
        from rasterio.transform import from_gcps

        return from_gcps(list(gcps))
    return transform


def _chosen_bands(
    info: RasterInfo, bands: Sequence[int] | None, expected: Sequence[str]
) -> tuple[int, ...]:
    wanted = f'The model expects {len(expected)} bands ({", ".join(expected)})'
    has = f'{info.path} has {info.count} of type {info.dtype}'
    if bands is None:
        if info.count != len(expected):
            example = ','.join(str(n + 1) for n in range(len(expected)))
            raise RasterError(f'{wanted}, but {has}. Say which to take, in this order, e.g. '
                              f'--bands {example}.')
        return tuple(range(1, info.count + 1))
    if len(bands) != len(expected):
        raise RasterError(f'{wanted}, but --bands names {len(bands)}: {list(bands)}.')
    if wrong := [band for band in bands if not 1 <= band <= info.count]:
        raise RasterError(f'--bands names {wrong}, but {has}. Count from 1.')
    return tuple(bands)


def _chosen_scale(
    info: RasterInfo, scale: tuple[float, float] | None
) -> tuple[float, float] | None:
    if scale is None and info.dtype != 'uint8':
        raise RasterError(
            f'{info.path} holds {info.dtype} values, and the model was trained on 0 to 255. Say '
            'which values become 0 and 255, the same for all scenes of a sensor, e.g. --scale '
            '0,3000 for reflectances times 10,000.')
    if scale is not None and not (all(map(math.isfinite, scale)) and scale[0] < scale[1]):
        raise RasterError(f'--scale {scale[0]},{scale[1]} is no range: the first value must be '
                          'below the second.')
    return scale


def _resampled(info: RasterInfo, gsd_m: float | None) -> tuple[Grid, tuple[float, float]]:
    """The grid at another pixel size, and its size divided by the file's (rows, columns)."""
    grid = info.grid
    if gsd_m is None:
        return grid, (1.0, 1.0)
    if info.gsd_m is None:
        raise RasterError(f'{info.path} does not say how large its pixels are, so it cannot be '
                          f'resampled to {gsd_m:g} m. Leave --gsd out, or georeference it.')
    if not (gsd_m > 0 and math.isfinite(gsd_m)):
        raise RasterError(f'--gsd {gsd_m} is no pixel size in metres.')
    factor = info.gsd_m / gsd_m
    height, width = (max(1, round(side * factor)) for side in (grid.height, grid.width))
    fy, fx = height / grid.height, width / grid.width
    transform = grid.transform
    if transform is not None:
        transform = transform * transform.scale(1 / fx, 1 / fy)
    gcps = _moved(grid.gcps, lambda y, x: (y * fy, x * fx))
    return Grid(height, width, grid.crs, transform, gcps, grid.area_or_point), (fy, fx)
