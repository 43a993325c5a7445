# SPDX-License-Identifier: Apache-2.0
"""Small rasters on disk for the tests of inference."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio import Affine

UTM = 'EPSG:32637'
HALF_METRE = Affine(0.5, 0, 500_000, 0, -0.5, 1_000_000)


def write_raster(path: Path, data: np.ndarray, **options) -> Path:
    """Write (bands, rows, columns) with `options` of rasterio's profile over plain defaults."""
    mask = options.pop('mask', None)
    tags = options.pop('tags', {})
    profile = {'driver': 'GTiff', 'count': len(data), 'height': data.shape[1],
               'width': data.shape[2], 'dtype': data.dtype, 'crs': UTM, 'transform': HALF_METRE}
    with rasterio.open(path, 'w', **{**profile, **options}) as file:
        file.write(data)
        if tags:  # written late, they move the directory to the file's end
            file.update_tags(**tags)
        if mask is not None:
            file.write_mask(mask)
    return path


def rgb(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Random (3, height, width) uint8 without zeros."""
    return np.random.default_rng(seed).integers(1, 256, (3, height, width), np.uint8)


def zone(south: float, north: float) -> float:
    """Square metres of one degree of longitude between two latitudes of WGS 84, exactly."""
    squared = 0.006_694_379_990_14
    sines = np.sin(np.radians([south, north]))
    root = squared**0.5
    parts = sines / (1 - squared * sines**2) + np.arctanh(root * sines) / root
    return 6_378_137**2 * (1 - squared) / 2 * np.radians(1) * (parts[1] - parts[0])
