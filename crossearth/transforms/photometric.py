# SPDX-License-Identifier: Apache-2.0
"""Changes of brightness, contrast, saturation and hue as look-up tables.

Liu et al. 2016, SSD (arXiv 1512.02325), section 2.2; the draws and the pixels are those of mmseg's
`PhotoMetricDistortion`, whose passes over float pixels take three times as long.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from crossearth.registry import TRANSFORMS

__all__ = ['PhotoMetricDistortion']

HUE, SATURATION = 0, 1  # channels of HSV
HUES = 180  # of 8-bit HSV: a step is 2 degrees
SAME = np.arange(256, dtype=np.uint8)


@TRANSFORMS.register_module()
class PhotoMetricDistortion(BaseTransform):
    """Change the colours of an image; takes the place of mmseg's transform of this name.

    Brightness, contrast, saturation and hue change with probability 1/2 each; contrast either
    before or after saturation and hue.

    Required and changed key: `img` (H, W, 3) uint8 BGR, written as three planes.

    Args:
        brightness_delta: Grey levels that are added at most.
        contrast_range: Least and greatest factor of the grey levels.
        saturation_range: Least and greatest factor of the saturation.
        hue_delta: Steps of 2 degrees by which the hue turns at most.
    """

    def __init__(
        self,
        brightness_delta: int = 32,
        contrast_range: Sequence[float] = (0.5, 1.5),
        saturation_range: Sequence[float] = (0.5, 1.5),
        hue_delta: int = 18,
    ) -> None:
        self.brightness_delta = brightness_delta
        self.least_contrast, self.greatest_contrast = contrast_range
        self.least_saturation, self.greatest_saturation = saturation_range
        self.hue_delta = hue_delta

    def transform(self, results: dict) -> dict:
        """Change the image of a sample."""
        # the order of the draws is mmseg's, so that seeds keep their meaning
        before = after = SAME
        if np.random.randint(2):
            delta = self.brightness_delta
            before = _linear(before, shift=np.random.uniform(-delta, delta))
        contrast_first = np.random.randint(2)
        if contrast_first:
            before = self._contrast(before)
        image = _look_up(results['img'], before)
        if np.random.randint(2):
            factor = np.random.uniform(self.least_saturation, self.greatest_saturation)
            image = _in_hsv(image, SATURATION, _linear(SAME, factor))
        if np.random.randint(2):
            turn = np.random.randint(-self.hue_delta, self.hue_delta)
            image = _in_hsv(image, HUE, ((SAME.astype(int) + turn) % HUES).astype(np.uint8))
        if not contrast_first:
            after = self._contrast(after)
        return results | {'img': _as_planes(_look_up(image, after))}

    def _contrast(self, table: np.ndarray) -> np.ndarray:
        if np.random.randint(2):
            factor = np.random.uniform(self.least_contrast, self.greatest_contrast)
            return _linear(table, factor)
        return table


def _linear(table: np.ndarray, factor: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """A table followed by `factor * value + shift`, cut to 8 bits."""
    changed: np.ndarray = (table.astype(np.float32) * factor + shift).clip(0, 255).astype(np.uint8)
    return changed


def _look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    if table is SAME:
        return image
    rows = image.reshape(len(image), -1)  # OpenCV is twice as quick with one channel as with three
    changed: np.ndarray = cv2.LUT(rows, table).reshape(image.shape)
    return changed


def _in_hsv(image: np.ndarray, channel: int, table: np.ndarray) -> np.ndarray:
    """Change one channel of HSV.

    Saturation and hue each take the way there and back: in one, hues that 8 bits round would turn
    out otherwise than in mmseg.
    """
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, channel), table), hsv, channel)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


def _as_planes(image: np.ndarray) -> np.ndarray:
    """The image (H, W, 3), in memory (3, H, W): `PackSegInputs` then has nothing to transpose."""
    return np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)
