# SPDX-License-Identifier: Apache-2.0
"""The head of DeepLabv2 (Chen et al., 2018): atrous convolutions side by side, summed.

DeepLabv3's head, which came after it, is MMSegmentation's `ASPPHead`.
"""

from collections.abc import Sequence
from typing import Any

from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from crossearth.registry import MODELS

__all__ = ['DeepLabV2Head']


@MODELS.register_module()
class DeepLabV2Head(BaseDecodeHead):
    """Classify each pixel by the sum of 3x3 convolutions of several dilations.

    Args:
        in_channels: Channels of the last feature map.
        num_classes: Classes.
        dilations: One for each convolution, in px of the feature map.
        **kwargs: As for MMSegmentation's `BaseDecodeHead`.
    """

    def __init__(
        self, in_channels: int, num_classes: int, dilations: Sequence[int] = (6, 12, 18, 24),
        **kwargs: Any,
    ) -> None:
        super().__init__(**{
            'in_channels': in_channels, 'channels': num_classes, 'num_classes': num_classes,
            'dropout_ratio': 0, 'init_cfg': {'type': 'Normal', 'layer': 'Conv2d', 'std': 0.01},
            **kwargs})
        del self.conv_seg  # there is no layer after the convolutions
        self.branches = nn.ModuleList(
            nn.Conv2d(in_channels, num_classes, 3, padding=dilation, dilation=dilation)
            for dilation in dilations)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Classify.

        Args:
            inputs: Feature maps; the one of `in_index`, by default the last, is (B, C, h, w).

        Returns:
            Logits (B, num_classes, h, w).
        """
        feature = self._transform_inputs(inputs)
        first, *others = self.branches
        logits: Tensor = first(feature)
        for branch in others:
            logits = logits + branch(feature)
        return logits
