# SPDX-License-Identifier: Apache-2.0
"""Feature maps as pictures, as Fig. 9 and 11 of CrossEarth (arXiv 2410.22629)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .charts import add_scales, heat, write_rows
from .embedding import layer_features
from .palettes import colorize
from .pictures import PictureRow, comparison_picture, save_picture
from .subjects import Subject
from .tiles import TileSet

__all__ = ['ColourAxes', 'fit_axes', 'write_features']

EDGES = (1.0, 99.0)  # percentiles that become the darkest and the brightest: tokens have outliers


@dataclass(frozen=True)
class ColourAxes:
    """Three principal axes of feature vectors, which become red, green and blue.

    Args:
        mean: (D,).
        axes: (3, D), orthonormal; of each the entry that is largest in size is positive.
        explained: Their shares of the variance (3,).
        low: 1st percentile of the coordinates (3,).
        high: 99th percentile.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    explained: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    def paint(self, features: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Paint a feature map (y, x, D) as RGB picture (y, x, 3)."""
        share = ((features - self.mean) @ self.axes.T - self.low) / np.maximum(
            self.high - self.low, 1e-12)
        return np.rint(255 * share.clip(0, 1)).astype(np.uint8)


def fit_axes(features: Sequence[NDArray[np.floating]]) -> ColourAxes:
    """Fit the axes over all shown images, so that a colour means the same in each.

    Args:
        features: Feature maps (y, x, D), D >= 3.
    """
    vectors = np.concatenate([found.reshape(-1, found.shape[-1]) for found in features]).astype(
        np.float64)
    mean = vectors.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov(vectors - mean, rowvar=False))
    values, axes = values[::-1], axes.T[::-1][:3]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    axes = axes * np.sign(largest)
    low, high = np.percentile((vectors - mean) @ axes.T, EDGES, axis=0)
    return ColourAxes(mean, axes, values[:3] / max(values.sum(), 1e-12), low, high)


def write_features(
    subjects: Sequence[Subject], tiles: TileSet, out: Path, *, layer: str
) -> list[Path]:
    """Write the picture and the numbers behind it.

    Args:
        subjects: The models, each with axes and a scale of its own.
        tiles: What is shown, one row for each.
        out: Folder.
        layer: As of `Subject.features`.

    Returns:
        The files.
    """
    columns: list[dict[str, Any]] = [
        {'Image': tile.view, 'Truth': colorize(tile.label, tiles.palette)} for tile in tiles.tiles]
    rows, scales = [], {}
    for subject in subjects:
        features = layer_features(subject, tiles, layer)
        axes = fit_axes(features)
        norms = [np.linalg.norm(found, axis=-1) for found in features]
        low, high = np.percentile(np.concatenate([norm.ravel() for norm in norms]), EDGES)
        scales[f'{subject.title}: norm'] = ('viridis', float(low), float(high))
        for tile, shown, found, norm in zip(tiles.tiles, columns, features, norms, strict=True):
            size = shown['Image'].shape[:2]
            shown[f'{subject.title}: PCA'] = _enlarged(axes.paint(found), size)
            shown[f'{subject.title}: norm'] = _enlarged(heat(norm, low, high), size)
            rows.append({
                'method': subject.title, 'layer': layer, 'domain': tile.domain, 'tile': tile.path,
                'mean_norm': float(norm.mean()), 'norm_deviation': float(norm.std()),
                'norm_dark': float(low), 'norm_bright': float(high), **{
                    f'explained_{name}': float(share) for name, share in zip(
                        ('red', 'green', 'blue'), axes.explained, strict=True)}})
    picture = comparison_picture(
        [PictureRow(tiles.title(tile.domain), shown)
         for tile, shown in zip(tiles.tiles, columns, strict=True)],
        tiles.classes, tiles.palette, f'Features of {layer}')
    save_picture(add_scales(picture, scales), out / 'features.png')
    return [out / 'features.png', write_rows(out / 'features.csv', rows)]


def _enlarged(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
