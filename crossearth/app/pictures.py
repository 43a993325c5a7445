# SPDX-License-Identifier: Apache-2.0
"""Thinned copies of a scene, its map and its confidence, as PNGs that lie on each other."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from crossearth.inference.card import Card
from crossearth.inference.raster import open_raster
from crossearth.inference.scene import SceneOptions, open_scene
from crossearth.inference.stream import NO_DATA

__all__ = ['paint_confidence', 'paint_map', 'paint_scene']

SIDE = 1600  # px, longer side of a picture
# Confidence 0, 25 ... 100 %: dark means unsure, and the order shows in grey too. The page has the
# same colours in its legend.
RAMP = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]])


def paint_scene(path: Path, out: Path, card: Card, options: SceneOptions) -> None:
    """Paint the scene as the model sees it, transparent where there is no data.

    Args:
        path: The raster.
        out: PNG.
        card: Says how many bands the model takes.
        options: Say which, and what becomes 0 and 255.

    Raises:
        RasterError: The raster does not fit the model.
    """
    from rasterio.enums import Resampling

    chosen = open_scene(path, card, options).bands
    bands = list(chosen[:3]) if len(chosen) >= 3 else [chosen[0]] * 3
    with open_raster(path) as file:
        shape = _thinned(file.height, file.width)
        values = file.read(bands, out_shape=(3, *shape), resampling=Resampling.average)
        valid = file.dataset_mask(out_shape=shape) > 0
    image = np.nan_to_num(values.astype(np.float32))
    if options.scale is not None:
        low, high = options.scale
        image = (image - low) * (255 / (high - low))
    _save(out, image.clip(0, 255), valid)


def paint_map(path: Path, out: Path, palette: Sequence[Sequence[int]]) -> None:
    """Paint a map of classes."""
    label = _thin(path)
    valid = label != NO_DATA
    colors = np.array(palette, np.uint8)[np.where(valid, label, 0)]
    _save(out, colors.transpose(2, 0, 1), valid)


def paint_confidence(path: Path, out: Path) -> None:
    """Paint a raster of confidence in percent."""
    percent = _thin(path)
    steps = np.linspace(0, 100, len(RAMP))
    _save(out, np.stack([np.interp(percent, steps, band) for band in RAMP.T]), percent != NO_DATA)


def _thin(path: Path) -> np.ndarray:
    """The nearest values (h, w) of the only band."""
    with open_raster(path) as file:
        values: np.ndarray = file.read(1, out_shape=_thinned(file.height, file.width))
    return values


def _thinned(height: int, width: int) -> tuple[int, int]:
    factor = min(1.0, SIDE / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def _save(out: Path, image: np.ndarray, valid: np.ndarray) -> None:
    """Write (3, h, w) in 0..255 with `valid` as opacity."""
    planes = np.concatenate([np.rint(image), 255 * valid[None]]).astype(np.uint8)
    Image.fromarray(planes.transpose(1, 2, 0)).save(out)
