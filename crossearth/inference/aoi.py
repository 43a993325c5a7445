# SPDX-License-Identifier: Apache-2.0
"""An area of interest out of a vector file, in the coordinates of a raster."""

from pathlib import Path
from typing import Any

from crossearth.errors import MissingDependencyError, RasterError
from crossearth.inference.writer import Grid

__all__ = ['read_area']

POLYGONS = ('Polygon', 'MultiPolygon')


def read_area(path: str | Path, grid: Grid) -> list[dict[str, Any]]:
    """Read the polygons of a vector file.

    Args:
        path: GeoPackage, GeoJSON, FlatGeobuf, Shapefile or whatever else GDAL reads.
        grid: Grid of the raster.

    Returns:
        GeoJSON-like geometries in the grid's coordinate system.

    Raises:
        RasterError: The file cannot be read, holds no polygon, or it is not known where it or the
            raster lies.
        MissingDependencyError: pyogrio or shapely is not installed.
    """
    try:
        import pyogrio
        import shapely
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "reading an area of interest needs pyogrio and shapely. Run: pip install "
            "'crossearth[geo]'.") from error
    from rasterio.warp import transform_geom

    if not Path(path).is_file():
        raise RasterError(f'There is no area of interest {path}. Correct the path.')
    try:
        meta, _, geometries, _ = pyogrio.raw.read(path, columns=[])
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise RasterError(f'{path} cannot be read as a vector file: {error}. Give a GeoPackage, '
                          'GeoJSON or Shapefile.') from error
    shapes = [shape.__geo_interface__ for shape in shapely.from_wkb(geometries)
              if shape is not None and shape.geom_type in POLYGONS and not shape.is_empty]
    if not shapes:
        raise RasterError(f'{path} holds no polygon. Draw the area of interest as polygons.')
    if meta['crs'] is None or grid.crs is None:
        what = f'{path} names' if meta['crs'] is None else 'the raster has'
        raise RasterError(f'--aoi needs to know where things are, and {what} no coordinate system. '
                          'Set it, e.g. with QGIS, or leave --aoi out.')
    return [transform_geom(meta['crs'], grid.crs, shape) for shape in shapes]
