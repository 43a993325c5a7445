# SPDX-License-Identifier: Apache-2.0
"""The four feature maps of a vision transformer, resized only where somebody needs them large.

All four come out of the transformer at the size of its patch grid. A 1x1 convolution and a bilinear
resize commute, since bilinear weights sum to 1; so a head that starts with one runs it on the small
map by `project`, and the map of all channels at stride 4 is never made.
"""

from collections.abc import Callable, Sequence
from typing import overload

import torch.nn.functional as F
from torch import Tensor

__all__ = ['Pyramid', 'cropped', 'project', 'select_images']

SCALES = (4.0, 2.0, 1.0, 0.5)  # of the patch grid
STRIDES = (4, 8, 16, 32)  # px, with patches of 16 px


class Pyramid(Sequence[Tensor]):
    """Four maps (B, C, h, w) at strides 4, 8, 16 and 32, resized when they are first taken.

    Args:
        maps: Four maps (B, C, h, w) of the patch grid.
        size: (H, W) of the image in px if its map is to be cropped; None if it was not padded.
    """

    def __init__(self, maps: Sequence[Tensor], size: tuple[int, int] | None = None) -> None:
        self.maps, self.size = maps, size
        self._resized: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.maps)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...

    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        index = range(len(self))[index]
        if index not in self._resized:
            self._resized[index] = self._finish(self.maps[index], index)
        return self._resized[index]

    def project(self, index: int, convolution: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply a 1x1 convolution to one map, at the smaller of its two sizes."""
        index = range(len(self))[index]
        if SCALES[index] > 1:
            return self._finish(convolution(self.maps[index]), index)
        return convolution(self[index])

    def _finish(self, feature: Tensor, index: int) -> Tensor:
        """Resize and crop a map (B, C, h, w) of the patch grid."""
        feature = _rescale(feature, SCALES[index])
        return feature if self.size is None else _crop(feature, self.size, STRIDES[index])


def project(
    maps: Sequence[Tensor], index: int, convolution: Callable[[Tensor], Tensor]
) -> Tensor:
    """Apply a 1x1 convolution to one map of a pyramid, where that is cheapest.

    Args:
        maps: A `Pyramid`, or maps (B, C, h, w).
        index: Which of them.
        convolution: The convolution, with or without a bias: (B, C, h, w) -> (B, D, h, w).

    Returns:
        (B, D, h, w), equal to `convolution(maps[index])`.
    """
    if isinstance(maps, Pyramid):
        return maps.project(index, convolution)
    return convolution(maps[index])


def select_images(maps: Sequence[Tensor], images: slice) -> Sequence[Tensor]:
    """Take some images of a batch.

    Args:
        maps: A `Pyramid`, or maps (B, C, h, w).
        images: Which of the B.

    Returns:
        The same of these images.
    """
    if isinstance(maps, Pyramid):
        return Pyramid([feature[images] for feature in maps.maps], maps.size)
    return [feature[images] for feature in maps]


def cropped(maps: Sequence[Tensor], size: tuple[int, int]) -> Sequence[Tensor]:
    """Cut off what belongs to the padding of an image.

    Args:
        maps: A `Pyramid`, or four maps (B, C, h, w) at strides 4, 8, 16 and 32.
        size: (H, W) of the image in px; what was padded lies at its bottom and right.

    Returns:
        The same with maps of at most (ceil(H / s), ceil(W / s)) at stride s.
    """
    if isinstance(maps, Pyramid):
        return Pyramid(maps.maps, size)
    return [_crop(feature, size, stride) for feature, stride in zip(maps, STRIDES, strict=True)]


def _crop(feature: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    return feature[..., : -(-size[0] // stride), : -(-size[1] // stride)]


def _rescale(feature: Tensor, scale: float) -> Tensor:
    """Resize a map (B, C, h, w) by `scale`; a side of 1 is not halved."""
    if scale == 1:
        return feature
    if scale < 1 and min(feature.shape[-2:]) == 1:
        size = [max(1, side // 2) for side in feature.shape[-2:]]
        return F.interpolate(feature, size=size, mode='bilinear', align_corners=False)
    return F.interpolate(feature, scale_factor=scale, mode='bilinear', align_corners=False)
