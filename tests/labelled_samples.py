# SPDX-License-Identifier: Apache-2.0
"""Samples with random labels, as a segmentor gets them beside its images."""

import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

__all__ = ['samples']


def samples(n: int, size: tuple[int, int], classes: int = 5) -> list[SegDataSample]:
    """Make `n` samples of images of `size` (H, W)."""
    out = [SegDataSample(metainfo={'ori_shape': size, 'img_shape': size}) for _ in range(n)]
    for sample in out:
        sample.gt_sem_seg = PixelData(data=torch.randint(0, classes, (1, *size)))
    return out
