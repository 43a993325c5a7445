# SPDX-License-Identifier: Apache-2.0
"""Mask2Former as published: stacked samples, and full maps of all queries after every layer."""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossearth.models.heads.mask2former.head import ReinMask2FormerHead
from crossearth.models.layers.deformable_attention import MultiScaleDeformableAttention
from crossearth.models.layers.position_encoding import sine_position_encoding

from .loss import Truth

__all__ = ['Maps', 'PlainDeformableAttention', 'PlainHead']

# class logits (N, Q, classes + 1) and mask logits (N, Q, h, w) after each layer
Maps = tuple[list[Tensor], list[Tensor]]


class PlainDeformableAttention(MultiScaleDeformableAttention):
    """Samples of all levels in one tensor (N * heads, D, Q, levels * points), then their sum."""

    def forward(
        self, query: Tensor, value: Tensor, reference: Tensor, shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Attend from queries (N, Q, C) to pixels (N, S, C) around places (Q, 2)."""
        N, Q, C = query.shape
        heads, levels, points = self.layout
        offsets = self.sampling_offsets(query).view(N, Q, heads, levels, points, 2)
        weights = self.attention_weights(query).view(N, Q, heads, levels * points).softmax(-1)
        size = offsets.new_tensor([(w, h) for h, w in shapes])
        places = reference[:, None, None, None] + offsets / size[:, None]
        grids = (2 * places - 1).transpose(1, 2).flatten(0, 1)
        value = self.value_proj(value).view(N, -1, heads, C // heads)
        sampled = []
        for level, pixels in enumerate(value.split([h * w for h, w in shapes], dim=1)):
            maps = pixels.flatten(2).transpose(1, 2).reshape(N * heads, -1, *shapes[level])
            sampled.append(F.grid_sample(maps, grids[:, :, level], align_corners=False))
        stacked = torch.stack(sampled, dim=-2).flatten(-2)
        weights = weights.transpose(1, 2).reshape(N * heads, 1, Q, -1)
        out = (stacked * weights).sum(-1).view(N, C, Q)
        return self.output_proj(out.transpose(1, 2).contiguous())


class PlainHead(ReinMask2FormerHead):
    """Decoder whose attention masks are resized maps, and loss and scores from full maps."""

    def forward(self, inputs: tuple[list[Tensor], Tensor]) -> Maps:
        """Predict classes and full maps of all queries after every layer."""
        features, queries = inputs
        mask_features, memories = self.pixel_decoder(features)
        batch = len(mask_features)
        position = queries.repeat(batch, 1, 1)
        content = self.querys2feat(queries).repeat(batch, 1, 1)
        classes, masks = [], []

        def predict(content: Tensor) -> Tensor:
            state = self.transformer_decoder.post_norm(content)
            classes.append(self.cls_embed(state))
            masks.append(torch.einsum('nqc,nchw->nqhw', self.mask_embed(state), mask_features))
            return masks[-1]

        inside = predict(content)
        levels = cycle(zip(memories, self.level_embed.weight, strict=True))
        for layer, (memory, level) in zip(
                self.transformer_decoder.layers, levels, strict=False):
            blocked = _outside(inside, memory.shape[-2:])
            content = _decode(layer, content, position, memory, level, blocked)
            inside = predict(content)
        return classes, masks

    def loss(
        self, inputs: Any, batch_data_samples: Sequence[Any], train_cfg: Any = None
    ) -> dict[str, Tensor]:
        """Compute the losses, named as those of the class above."""
        truths = [Truth.of(sample.gt_sem_seg.data[0], self.ignore_index)
                  for sample in batch_data_samples]
        return self.criterion(self(inputs), truths)

    def predict(
        self, inputs: Any, batch_img_metas: Sequence[dict[str, Any]], test_cfg: Any = None
    ) -> Tensor:
        """Score every pixel, (N, num_classes, h, w)."""
        classes, masks = self(inputs)
        size = batch_img_metas[0]['img_shape'][:2]
        scores = F.softmax(classes[-1], -1)[..., :-1]
        inside = F.interpolate(masks[-1], size, mode='bilinear').sigmoid()
        return torch.einsum('nqk,nqhw->nkhw', scores, inside)


def _outside(masks: Tensor, size: Sequence[int]) -> Tensor:
    """(N, Q, S) where a query may not look: outside of its mask, unless that is empty."""
    resized = F.interpolate(masks.detach(), tuple(size), mode='bilinear')
    blocked = resized.flatten(2).sigmoid() < 0.5
    blocked[blocked.all(-1)] = False
    return blocked


def _decode(
    layer: nn.Module, content: Tensor, position: Tensor, memory: Tensor, level: Tensor,
    blocked: Tensor,
) -> Tensor:
    """Run one decoder layer: cross-attention, self-attention, feed-forward."""
    h, w = memory.shape[-2:]
    pixels = memory.flatten(2).transpose(1, 2) + level
    places = sine_position_encoding(h, w, memory.shape[1], memory.device)
    cross, own = layer.cross_attn.attn, layer.self_attn.attn
    content = content + _attend(cross, content + position, pixels + places, pixels, blocked)
    content = layer.norms[0](content)
    moved = content + position
    content = layer.norms[1](content + _attend(own, moved, moved, content))
    return layer.norms[2](layer.ffn(content))


def _attend(
    packed: nn.Module, query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None = None
) -> Tensor:
    """Attend with explicit weights and a mask for each head, as torch's own module does."""
    if blocked is not None:
        blocked = blocked[:, None].repeat(1, packed.num_heads, 1, 1).flatten(0, 1)
    query, key, value = (x.transpose(0, 1) for x in (query, key, value))
    out, _ = F.multi_head_attention_forward(
        query, key, value, query.shape[-1], packed.num_heads, packed.in_proj_weight,
        packed.in_proj_bias, None, None, False, 0.0, packed.out_proj.weight, packed.out_proj.bias,
        need_weights=True, attn_mask=blocked)
    return out.transpose(0, 1)
