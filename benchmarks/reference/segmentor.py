# SPDX-License-Identifier: Apache-2.0
"""The segmentors as published: a pass for each image version, windows padded to the whole image."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from crossearth.models.heads.mim import MIMHead
from crossearth.models.segmentors import CrossEarthSegmentor, PEFTEncoderDecoder
from crossearth.models.segmentors.encoder_decoder import prefixed, sliding_windows

__all__ = ['PlainEncoderDecoder', 'PlainMIMHead', 'PlainSegmentor']


class PlainMIMHead(MIMHead):
    """Shared ASPP on each map, all results at full size in one tensor, then the 1x1 convolution."""

    def forward(self, features: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Restore images (B, 3, `size`, `size`) from four maps (B, C, h, w)."""
        stages = []
        for feature, stage in zip(features, cycle(self.stages)):
            reduced = stage.reduce(feature)
            mixed = torch.cat([branch(reduced) for branch in stage.branches], 1)
            stages.append(F.interpolate(
                F.relu(stage.mix(mixed)), (self.size, self.size), mode='bilinear'))
        return self.restore(F.relu(self.refine(torch.cat(stages, 1))))


class PlainEncoderDecoder(PEFTEncoderDecoder):
    """Sliding windows whose scores are padded to the whole image before they are added."""

    def slide_inference(self, inputs: Tensor) -> Tensor:
        """Average the scores of overlapping windows, (B, C, H, W)."""
        B, _, H, W = inputs.shape
        scores = inputs.new_zeros(B, self.num_classes, H, W)
        count = inputs.new_zeros(B, 1, H, W)
        for rows, columns in sliding_windows(
                (H, W), self.test_cfg['crop_size'], self.test_cfg['stride']):
            window = self.encode_decode(inputs[:, :, rows, columns])
            scores += F.pad(
                window, (columns.start, W - columns.stop, rows.start, H - rows.stop))
            count[:, :, rows, columns] += 1
        return scores / count


class PlainSegmentor(PlainEncoderDecoder, CrossEarthSegmentor):
    """X or X_S with GSE and Injector, then X_M, then X_S again without: two passes or three."""

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the losses of a batch, named as those of the class above."""
        restyled = self.style(inputs)[0] if self.style.draw() else None
        self.mask_draws.advance()
        keep = self.mask_generator(
            len(inputs), tuple(inputs.shape[-2:]), inputs.device, self.mask_draws.generator)
        prompt = F.interpolate(self.prompt, tuple(inputs.shape[-2:]), mode='bilinear')
        masked = inputs * keep + prompt * (1 - keep)
        features = self.backbone(inputs if restyled is None else restyled)
        losses = prefixed('decode', self.decode_head.loss(features, data_samples))
        target = self._resized(inputs)
        first = self._restore(masked)
        losses['mim.loss_m'] = self.mim_head.distance(first, target)
        if restyled is not None:
            second = self._restore(restyled)
            losses['mim.loss_s'] = self.mim_head.distance(second, target)
            losses['mim.loss_delta'] = F.l1_loss(second, first)
        losses['styled'] = inputs.new_tensor(float(restyled is not None))
        return losses

    def _restore(self, image: Tensor) -> Tensor:
        maps, _ = self.backbone(image, geospatial=False)
        return self.mim_head(maps, image.shape[-2:])

    def _resized(self, image: Tensor) -> Tensor:
        side = self.mim_head.size
        return F.interpolate(image, (side, side), mode='bilinear')
