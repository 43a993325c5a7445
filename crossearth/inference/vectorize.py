# SPDX-License-Identifier: Apache-2.0
"""A map of classes -> polygons in a GeoPackage, GeoJSON or FlatGeobuf.

The map is worked through in bands of rows. Without simplification a GeoPackage is written piece by
piece, so that memory grows with the width of the map and its largest polygons, not with its area;
the other formats are written at once, and simplification needs all neighbours at the same time.
"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crossearth.errors import MissingDependencyError, RasterError
from crossearth.inference.polygons import Band, Patch, import_shapely, patches, weigh
from crossearth.inference.raster import RasterInfo, RasterReader, raster_info
from crossearth.inference.stream import NO_DATA
from crossearth.inference.tiling import Window
from crossearth.inference.writer import BLOCK, Grid

__all__ = ['FORMATS', 'VectorReport', 'vectorize']

FORMATS = {'.gpkg': 'GPKG', '.geojson': 'GeoJSON', '.fgb': 'FlatGeobuf'}
BAND_PIXELS = 1 << 23  # pixels of a band, which are held together with 8-byte sums
PIECE = 20_000  # polygons that a GeoPackage takes at once


@dataclass(frozen=True)
class VectorReport:
    """What was written.

    Args:
        output: The file.
        unit: Of areas: `m2`, or `px` where the map does not say where it lies.
        polygons: Number of polygons of each class.
        areas: Their area.
        dropped: Number of polygons below the least area.
    """

    output: str
    unit: str
    polygons: Mapping[str, int]
    areas: Mapping[str, float]
    dropped: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def vectorize(
    map_path: str | Path,
    out_path: str | Path,
    *,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
    confidence: str | Path | None = None,
    min_area: float = 0.0,
    simplify: float = 0.0,
    allow_no_crs: bool = False,
    overwrite: bool = False,
) -> VectorReport:
    """Turn a map into polygons, one for each set of connected pixels of a class.

    Each has the attributes `class_id`, `class`, the area of its pixels `area_m2` (`area_px` without
    a coordinate system), `color` (#rrggbb) if colours are known and, with a confidence raster,
    `confidence`, its mean in percent. Pixels of 255 belong to no polygon.

    Args:
        map_path: GeoTIFF of one uint8 band, such as `predict_raster` writes.
        out_path: File in one of `FORMATS`. GeoJSON is written in WGS 84, as RFC 7946 wants it.
        classes: Names of the classes; None takes those in the map.
        palette: Their colours, (r, g, b); None takes those in the map.
        confidence: Raster of the same grid, in percent.
        min_area: Leave out polygons that are smaller, in square metres (px without a coordinate
            system); their place stays empty.
        simplify: Take out corners that change less than this length in the map's units, squared;
            shared borders stay shared. The stairs of pixels go at one pixel size. 0 keeps all.
        allow_no_crs: Take a map that does not say where it lies.
        overwrite: Replace an existing file.

    Raises:
        RasterError: The map or the confidence is none, or the file exists or cannot be written.
        MissingDependencyError: shapely or pyogrio is missing or too old.
    """
    _check_packages(simplify)
    out = Path(out_path)
    if out.suffix.lower() not in FORMATS:
        raise RasterError(f'{out} has no ending of a vector format. Choose one of: '
                          f'{", ".join(FORMATS)}.')
    if out.exists() and not overwrite:
        raise RasterError(f'{out} exists. Give --overwrite to replace it, or another name.')
    source = _Map(map_path, confidence, allow_no_crs=allow_no_crs)
    legend = _Legend(source.reader.info, classes, palette)
    tally = dict.fromkeys(legend.names, (0, 0.0))
    dropped = 0
    with _VectorFile(out, source, legend, simplify) as file:
        for patch in patches(source.bands()):
            area = weigh(patch.polygon, source.area_above)
            if area < min_area:
                dropped += 1
                continue
            name = legend.check(patch.class_id)
            count, sum_of_areas = tally.get(patch.class_id, (0, 0.0))
            tally[patch.class_id] = count + 1, sum_of_areas + area
            file.add(patch, name, area)
    return VectorReport(
        str(out), source.unit, dropped=dropped,
        polygons={legend.check(number): count for number, (count, _) in tally.items()},
        areas={legend.check(number): area for number, (_, area) in tally.items()})


class _Map:
    """A map of classes, its place and its bands."""

    def __init__(
        self, path: str | Path, confidence: str | Path | None, *, allow_no_crs: bool
    ) -> None:
        from rasterio import Affine

        self.reader = _single_band(path, 'a map of classes')
        grid = self.reader.grid
        self.confidence = confidence and _single_band(confidence, 'a raster of confidence')
        if self.confidence and _place(self.confidence.grid) != _place(grid):
            raise RasterError(f'{confidence} does not lie on the grid of {path}. Give the raster '
                              'that was written with the map.')
        placed = grid.crs is not None and grid.transform is not None
        if not placed and not allow_no_crs:
            raise RasterError(
                f'{path} does not say where it lies: it lacks a coordinate system or a transform. '
                'Georeference it, or give --allow-no-crs for polygons without one.')
        self.unit = 'm2' if placed else 'px'
        self.crs = grid.crs.to_wkt() if placed else None
        self.transform = Affine.identity() if grid.transform is None else grid.transform
        areas = self.reader.row_areas(0, grid.height) if placed else None
        self.area_above = np.concatenate(
            [[0.0], np.cumsum(np.ones(grid.height) if areas is None else areas)])

    def bands(self) -> Iterator[Band]:
        """Read the map from top to bottom."""
        height, width = self.reader.height, self.reader.width
        rows = max(1, min(BLOCK, BAND_PIXELS // width))
        for first in range(0, height, rows):
            window = Window(first, 0, min(rows, height - first), width)
            tile = self.reader.read(window)
            values = self.confidence.read(window).image[0] if self.confidence else None
            yield Band(first, np.where(tile.valid, tile.image[0], NO_DATA), values)


class _Legend:
    """Names and colours of classes, from the caller or from the map."""

    def __init__(
        self,
        info: RasterInfo,
        classes: Sequence[str] | None,
        palette: Sequence[Sequence[int]] | None,
    ) -> None:
        import rasterio

        with rasterio.open(info.path, driver=info.driver) as file:
            text = file.tags().get('classes', '')
            table = {}
            with suppress(ValueError):  # it has no colour table
                table = file.colormap(1)
        self.path = info.path
        self.names = dict(enumerate(re.split(r'(?:^|, )\d+=', text)[1:]
                                    if classes is None else classes))
        self.closed = bool(self.names)
        colors = table if palette is None else dict(enumerate(palette))
        self.colors = {number: '#{:02x}{:02x}{:02x}'.format(*color[:3])
                       for number, color in colors.items()}

    def check(self, number: int) -> str:
        """Name of a class; a map without names has any."""
        if self.closed and number not in self.names:
            raise RasterError(f'{self.path} holds the class {number}, and only '
                              f'{len(self.names)} classes are named. Name all of them.')
        return self.names.get(number, f'class {number}')


class _VectorFile:
    """Collect polygons and write them, whole or not at all."""

    def __init__(self, path: Path, source: _Map, legend: _Legend, simplify: float) -> None:
        self.path = path
        self.source = source
        self.legend = legend
        self.simplify = simplify
        # GDAL wants the format's own ending
        self.temporary = path.with_name(f'{path.stem}.part{path.suffix}')
        self.rows: list[tuple[Any, ...]] = []
        self.written = False

    def __enter__(self) -> '_VectorFile':
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.temporary.unlink(missing_ok=True)
        except OSError as error:
            raise self._failure(error) from error
        return self

    def add(self, patch: Patch, name: str, area: float) -> None:
        """Take one polygon."""
        mean = patch.total / patch.polygon.area
        color = self.legend.colors.get(patch.class_id)
        self.rows.append((patch.polygon, patch.class_id, name, color, area, mean))
        pieces = self.path.suffix.lower() == '.gpkg' and not self.simplify
        if pieces and len(self.rows) == PIECE:
            self._write()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                if self.rows or not self.written:
                    self._write()
                self.temporary.replace(self.path)
        finally:
            for ending in ('', '-journal', '-wal', '-shm'):
                self.temporary.with_name(self.temporary.name + ending).unlink(missing_ok=True)

    def _write(self) -> None:
        """Write what is held, after what was written before."""
        import pyogrio

        polygons, *columns = zip(*self.rows, strict=True) if self.rows else [()] * 6
        fields = {
            'class_id': np.array(columns[0], np.int32), 'class': np.array(columns[1], object),
            f'area_{self.source.unit}': np.array(columns[3], np.float64)}
        if self.legend.colors:
            fields['color'] = np.array(columns[2], object)
        if self.source.confidence:
            fields['confidence'] = np.array(columns[4], np.float64)
        driver = FORMATS[self.path.suffix.lower()]
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings('ignore', "'crs' was not provided")
                pyogrio.raw.write(
                    str(self.temporary), self._geometries(polygons), list(fields.values()),
                    list(fields), layer=self.path.stem, driver=driver, geometry_type='Polygon',
                    crs=self.source.crs, append=self.written,
                    layer_options={'RFC7946': 'YES'} if driver == 'GeoJSON' else None)
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError,
                pyogrio.errors.FeatureError, pyogrio.errors.GeometryError,
                pyogrio.errors.CRSError, OSError) as error:
            raise self._failure(error) from error
        self.rows.clear()
        self.written = True

    def _failure(self, error: Exception) -> RasterError:
        return RasterError(
            f'{self.path} cannot be written: {error}. Check that the folder is writable and has '
            'space. Nothing was left under that name.')

    def _geometries(self, polygons: Sequence[Any]) -> np.ndarray:
        """Polygons in px -> WKB in the map's coordinates."""
        shapely = import_shapely()
        shapes = np.array(polygons, object)
        if self.simplify:  # a border is only shared where both sides have the same points
            shapes = shapely.segmentize(shapes, 1)
        shapes = shapely.transform(
            shapes, lambda points: np.stack(self.source.transform * tuple(points.T), axis=1))
        if self.simplify:
            shapes = shapely.coverage_simplify(shapes, self.simplify)
        wkb: np.ndarray = shapely.to_wkb(shapes)
        return wkb


def _place(grid: Grid) -> tuple[Any, ...]:
    return grid.height, grid.width, grid.crs, grid.transform


def _single_band(path: str | Path, what: str) -> RasterReader:
    info = raster_info(path)
    if info.count != 1 or info.dtype != 'uint8':
        raise RasterError(f'{path} is not {what}: it has {info.count} bands of {info.dtype} '
                          'values. Give a file of one uint8 band, such as predict writes.')
    return RasterReader(path, expected=('value',))


def _check_packages(simplify: float) -> None:
    shapely = import_shapely()
    if simplify < 0:
        raise RasterError(f'--simplify {simplify} is no length: it must not be negative.')
    if simplify and not hasattr(shapely, 'coverage_simplify'):
        raise MissingDependencyError(
            f'simplification needs shapely 2.1 or newer, and {shapely.__version__} is installed. '
            "Run: pip install 'shapely>=2.1'.")
    try:
        import pyogrio
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "vector files need the package pyogrio. Run: pip install 'crossearth[geo]'.") from error
    del pyogrio
