# SPDX-License-Identifier: Apache-2.0
"""Crop and flip with the draws and the pixels of mmseg and mmcv, in a fraction of their time.

They have the names of what they replace, so a config need not change; `mmseg.RandomCrop` is still
the original.
"""

from collections.abc import Sequence

import cv2
import mmcv.transforms
import numpy as np
from mmcv.transforms import BaseTransform

from crossearth.datasets.labels import IGNORE_INDEX
from crossearth.errors import ConfigError
from crossearth.registry import TRANSFORMS

__all__ = ['RandomCrop', 'RandomFlip']

ATTEMPTS = 10  # as published: windows drawn anew before one with a single class is taken
# axes of NumPy, code of OpenCV
MIRRORS = {'horizontal': ((1,), 1), 'vertical': ((0,), 0), 'diagonal': ((0, 1), -1)}

Window = tuple[slice, slice]


@TRANSFORMS.register_module()
class RandomCrop(BaseTransform):
    """Cut image and label to a window; takes the place of mmseg's transform of this name.

    While one class holds `cat_max_ratio` or more of its labelled pixels, the window is drawn anew,
    up to ten times. Classes are counted by a histogram, where mmseg sorts the pixels.

    Required keys: `img` (H, W, 3), `gt_seg_map` (H, W) uint8 where `cat_max_ratio` is below 1, and
    `seg_fields`, the keys of what is cut alike. Changed keys: these and `img_shape`.

    Args:
        crop_size: Height and width of the window in px; a smaller image stays as it is.
        cat_max_ratio: Share that no class may reach; 1 for any window.
        ignore_index: Label of pixels that do not count.

    Raises:
        ConfigError: `crop_size` is no size.
    """

    def __init__(
        self,
        crop_size: int | Sequence[int],
        cat_max_ratio: float = 1.0,
        ignore_index: int = IGNORE_INDEX,
    ) -> None:
        size = (crop_size, crop_size) if isinstance(crop_size, int) else tuple(crop_size)
        if len(size) != 2 or min(size) < 1:
            raise ConfigError(f'RandomCrop: crop_size={crop_size} is no size. Give height and '
                              'width in px, such as (512, 512).')
        self.crop_size = size
        self.cat_max_ratio = cat_max_ratio
        self.ignore_index = ignore_index

    def transform(self, results: dict) -> dict:
        """Cut the sample."""
        window = self._choose(results)
        cut = {key: results[key][window] for key in ('img', *results.get('seg_fields', ()))}
        return results | cut | {'img_shape': cut['img'].shape[:2]}

    def _choose(self, results: dict) -> Window:
        height, width = results['img'].shape[:2]
        window = self._draw(height, width)
        if self.cat_max_ratio < 1:
            for _ in range(ATTEMPTS):
                if self._is_mixed(results['gt_seg_map'][window]):
                    break
                window = self._draw(height, width)
        return window

    def _draw(self, height: int, width: int) -> Window:
        h, w = self.crop_size
        top = np.random.randint(max(height - h, 0) + 1)
        left = np.random.randint(max(width - w, 0) + 1)
        return slice(top, top + h), slice(left, left + w)

    def _is_mixed(self, label: np.ndarray) -> bool:
        """Whether a window holds two classes or more, none of them too large."""
        # a column in OpenCV 4, a row in 5; floats, exact for windows below 4096 x 4096 px
        counts = cv2.calcHist([label], [0], None, [256], [0, 256]).ravel().astype(np.int64)
        counts[self.ignore_index] = 0
        return bool((counts > 0).sum() > 1 and counts.max() / counts.sum() < self.cat_max_ratio)


@TRANSFORMS.register_module()
class RandomFlip(mmcv.transforms.RandomFlip):
    """Flip image and label; takes the place of mmcv's transform of this name.

    What mmcv flips is read backwards by each transform that follows, pixel by pixel. Here it is
    written out once, row by row. Arguments and keys are mmcv's.
    """

    def transform(self, results: dict) -> dict:
        """Flip the sample, or not."""
        results = super().transform(results)
        if results['flip']:
            axes, code = MIRRORS[results['flip_direction']]
            for key in {'img', 'gt_seg_map'} & results.keys():
                # mmcv's view taken back, which costs nothing, and flipped for good
                results[key] = cv2.flip(np.flip(results[key], axes), code)
        return results
