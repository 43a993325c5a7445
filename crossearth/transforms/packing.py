# SPDX-License-Identifier: Apache-2.0
"""Arrays of a sample -> tensors, small enough to travel from one process to another."""

import mmseg.datasets.transforms as mmseg_transforms
import torch

from crossearth.registry import TRANSFORMS

__all__ = ['PackSegInputs']


@TRANSFORMS.register_module()
class PackSegInputs(mmseg_transforms.PackSegInputs):
    """Pack a sample; takes the place of mmseg's transform of this name.

    The label stays uint8. mmseg's int64 is eight times as much for a worker process to hand over,
    and for a GPU to fetch; `crossearth.models.SegDataPreProcessor` makes it on the device.
    """

    def transform(self, results: dict) -> dict:
        """Give `inputs` (3, H, W) and `data_samples` with `gt_sem_seg.data` (1, H, W), uint8."""
        packed: dict = super().transform(results)
        if 'gt_sem_seg' in packed['data_samples']:
            label = packed['data_samples'].gt_sem_seg
            label.data = label.data.to(torch.uint8)
        return packed
