# SPDX-License-Identifier: Apache-2.0
"""Label maps as pictures: one colour per class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ['UNLABELLED', 'colorize', 'overlay']

UNLABELLED = (255, 255, 255)  # colour of ignored pixels

Palette = Sequence[Sequence[int]]


def colorize(
    label: NDArray[np.integer], palette: Palette, ignore_index: int = 255
) -> NDArray[np.uint8]:
    """Paint a label map.

    Args:
        label: Class of each pixel, (H, W).
        palette: Red, green and blue of each class, 0 to 255.
        ignore_index: Label of the pixels that become white.

    Returns:
        RGB picture (H, W, 3).

    Raises:
        ValueError: A pixel has a class without a colour.
    """
    ignored = label == ignore_index
    known = np.where(ignored, 0, label)
    if known.size and not 0 <= known.min() <= known.max() < len(palette):
        raise ValueError(
            f'label holds classes from {known.min()} to {known.max()}, but the palette has '
            f'{len(palette)} colours')
    picture = np.asarray(palette, dtype=np.uint8)[known]
    picture[ignored] = UNLABELLED
    return picture


def overlay(
    image: NDArray[np.uint8],
    label: NDArray[np.integer],
    palette: Palette,
    alpha: float = 0.5,
    ignore_index: int = 255,
) -> NDArray[np.uint8]:
    """Lay a label map over its image; ignored pixels are transparent.

    Args:
        image: RGB image (H, W, 3).
        label: Class of each pixel, (H, W).
        palette: Red, green and blue of each class, 0 to 255.
        alpha: Opacity of the classes, 0 to 1.
        ignore_index: Label of the pixels that keep their image.

    Returns:
        RGB picture (H, W, 3).

    Raises:
        ValueError: The sizes differ, or a pixel has a class without a colour.
    """
    if image.shape[:2] != label.shape:
        raise ValueError(f'image {image.shape[:2]} and label {label.shape} differ in size')
    paint = colorize(label, palette, ignore_index)
    mixed = np.rint((1 - alpha) * image + alpha * paint).astype(np.uint8)
    return np.where((label == ignore_index)[..., None], image, mixed)
