# SPDX-License-Identifier: Apache-2.0
"""The linear head: what the features of a frozen backbone give to a linear classifier."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from crossearth.registry import MODELS

from ..layers.pyramid import project

__all__ = ['LinearHead']


@MODELS.register_module()
class LinearHead(BaseDecodeHead):
    """Batch norm and a 1x1 convolution on all feature maps side by side.

    As in DINOv2's linear evaluation (Oquab et al., arXiv 2304.07193, section 7.4). The maps are
    brought to the size of the first.

    Args:
        in_channels: Channels of the feature maps.
        num_classes: Classes.
        **kwargs: As for mmseg's `BaseDecodeHead`.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, **kwargs: Any) -> None:
        super().__init__(
            in_channels=list(in_channels), in_index=list(range(len(in_channels))),
            channels=sum(in_channels), num_classes=num_classes, input_transform='resize_concat',
            **{'dropout_ratio': 0.0, **kwargs})
        self.norm: Any = nn.BatchNorm2d(self.channels)
        self.widths = list(in_channels)  # of which the base class keeps the sum only

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Give the logits (B, num_classes, H/4, W/4) of feature maps (B, C, h, w)."""
        if self.training:  # the norm's statistics are those of the resized maps
            logits: Tensor = self.cls_seg(self.norm(self._transform_inputs(inputs)))
            return logits
        return self._commuted(inputs)

    def _commuted(self, inputs: Sequence[Tensor]) -> Tensor:
        """Do the same at test, where norm and classifier are one 1x1 convolution."""
        scale = self.norm.weight * (self.norm.running_var + self.norm.eps).rsqrt()
        shift = self.norm.bias - self.norm.running_mean * scale
        weights = (self.conv_seg.weight * scale[:, None, None]).split(self.widths, 1)
        parts = (project(inputs, index, partial(F.conv2d, weight=weight))
                 for index, weight in zip(self.in_index, weights, strict=True))
        logits = next(parts) + self.conv_seg(shift[:, None, None])
        for part in parts:
            logits = logits + F.interpolate(
                part, logits.shape[-2:], mode='bilinear', align_corners=self.align_corners)
        return logits
