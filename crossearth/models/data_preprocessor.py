# SPDX-License-Identifier: Apache-2.0
"""Batches of the data loader -> what a model takes, on its device."""

from typing import Any

import mmseg.models

from crossearth.registry import MODELS

__all__ = ['SegDataPreProcessor']


@MODELS.register_module()
class SegDataPreProcessor(mmseg.models.SegDataPreProcessor):
    """Move, normalise and pad; takes the place of mmseg's class of this name.

    Labels arrive as uint8 (see `crossearth.transforms.PackSegInputs`) and become int64, which
    losses and metrics index with, when they are on the device.
    """

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """As mmseg's; `gt_sem_seg.data` (1, H, W) is int64 afterwards, where there are labels."""
        batch: dict[str, Any] = super().forward(data, training)
        for sample in batch['data_samples'] or ():
            if 'gt_sem_seg' in sample:
                sample.gt_sem_seg.data = sample.gt_sem_seg.data.long()
        return batch
