# SPDX-License-Identifier: Apache-2.0
"""How large pixels are on the ground."""

import math
from typing import Any

import numpy as np

__all__ = ['pixel_side', 'row_areas']

# WGS 84
SEMI_MAJOR = 6_378_137.0  # m
ECCENTRICITY_SQUARED = 0.006_694_379_990_14


def pixel_side(crs: Any, transform: Any, height: int, width: int) -> float | None:
    """Root of the area of a pixel at the centre of a grid, in metres.

    Args:
        crs: Coordinate system of rasterio.
        transform: Affine transform, pixel -> coordinates.
        height: Rows of the grid.
        width: Its columns.

    Returns:
        None where the grid does not say how large its pixels are.
    """
    areas = row_areas(crs, transform, width, (height - 1) / 2, 1)
    return None if areas is None else math.sqrt(areas[0])


def row_areas(
    crs: Any, transform: Any, width: int, first: float, count: int
) -> np.ndarray | None:
    """Area of a pixel in each of some rows of a grid, in square metres.

    Pixels of a geographic grid shrink towards the poles; each row is taken at the latitude of its
    middle column.

    Args:
        crs: As of `pixel_side`.
        transform: As of `pixel_side`.
        width: Columns of the grid.
        first: The first row.
        count: How many.

    Returns:
        Areas (count,); None where the grid does not say how large its pixels are.
    """
    if crs is None or transform is None:
        return None
    area = abs(transform.determinant)
    if not crs.is_geographic:
        return np.full(count, area * float(crs.linear_units_factor[1])**2)
    _, latitudes = transform * (np.full(count, width / 2), first + np.arange(count) + 0.5)
    return area * _square_degrees(latitudes)


def _square_degrees(latitudes: np.ndarray) -> np.ndarray:
    """Area of a square degree of the ellipsoid at some latitudes, in square metres.

    Product of the radii of curvature (Snyder 1987, Map Projections, eq. 4-18 and 4-20) and the
    cosine of the latitude.
    """
    angles = np.radians(latitudes)
    flat = 1 - ECCENTRICITY_SQUARED * np.sin(angles)**2
    radii = SEMI_MAJOR**2 * (1 - ECCENTRICITY_SQUARED) / flat**2
    areas: np.ndarray = radii * np.cos(angles).clip(0) * math.radians(1)**2
    return areas
