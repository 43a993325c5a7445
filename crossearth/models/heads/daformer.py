# SPDX-License-Identifier: Apache-2.0
"""The head of DAFormer (Hoyer et al., CVPR 2022): all stages of a pyramid seen in wide context.

It fuses by an ASPP whose dilated convolutions are depth-wise separable, and without the pooled
image of DeepLabv3+.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.decode_heads.sep_aspp_head import DepthwiseSeparableASPPModule
from torch import Tensor, nn

from crossearth.registry import MODELS

from ..layers.pyramid import project

__all__ = ['DAFormerHead']


@MODELS.register_module()
class DAFormerHead(BaseDecodeHead):
    """Embed every stage, bring all to the finest, fuse by ASPP, classify.

    Args:
        in_channels: Channels of the feature maps, finest first.
        channels: Channels of each embedded stage, of each branch of the ASPP and of its mixture.
        dilations: Of the branches, in px of the finest map; dilation 1 is a 1x1 convolution.
        norm_cfg: Normalisation of the fusion. Over several GPUs set `sync_bn='torch'` at the
            config's top level.
        **kwargs: As for MMSegmentation's `BaseDecodeHead`: `num_classes`, `dropout_ratio`...
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 256,
        dilations: Sequence[int] = (1, 6, 12, 18),
        norm_cfg: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{
            'in_channels': tuple(in_channels), 'in_index': tuple(range(len(in_channels))),
            'input_transform': 'multiple_select', 'channels': channels,
            'norm_cfg': norm_cfg or {'type': 'BN'}, **kwargs})
        # a linear layer for every pixel is a 1x1 convolution
        self.embed = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)
        layers = {'conv_cfg': None, 'norm_cfg': self.norm_cfg, 'act_cfg': self.act_cfg}
        self.aspp = DepthwiseSeparableASPPModule(
            dilations=dilations, in_channels=len(in_channels) * channels, channels=channels,
            **layers)
        self.bottleneck = ConvModule(
            len(dilations) * channels, channels, 3, padding=1, **layers)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Classify.

        Args:
            inputs: Feature maps (B, C_i, h_i, w_i), finest first.

        Returns:
            Logits (B, num_classes, h_0, w_0).
        """
        stages = [project(inputs, index, embed)
                  for index, embed in zip(self.in_index, self.embed, strict=True)]
        size = stages[0].shape[-2:]
        stages = [F.interpolate(stage, size, mode='bilinear') for stage in stages]
        branches = self.aspp(torch.cat(stages, dim=1))
        logits: Tensor = self.cls_seg(self.bottleneck(torch.cat(branches, dim=1)))
        return logits
