# SPDX-License-Identifier: Apache-2.0
"""Transformer decoder of Mask2Former (Cheng et al., 2022, section 3.2) and what comes out of it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossearth.models.layers.masked_decoder_layer import MaskedDecoderLayer
from crossearth.models.layers.position_encoding import sine_position_encoding

__all__ = ['DecoderLevel', 'MaskedTransformerDecoder', 'Predictions']


class Predictions(NamedTuple):
    """Queries after each decoder layer, as classes and masks.

    Masks are kept as factors, because a full map of every query of every layer is rarely needed.

    Attributes:
        cls_logits: (L, N, Q, classes + 1); the last class is "no object". Layer 0 is before the
            first decoder layer.
        mask_embeds: (L, N, Q, C).
        mask_features: (N, C, h, w), stride 4.
    """

    cls_logits: Tensor
    mask_embeds: Tensor
    mask_features: Tensor

    def mask_logits(self, layer: int) -> Tensor:
        """Masks of all queries after one layer, (N, Q, h, w)."""
        return torch.einsum('nqc,nchw->nqhw', self.mask_embeds[layer], self.mask_features)

    def widened(self) -> 'Predictions':
        """The same in at least float32, for losses and scores under mixed precision."""
        return Predictions(*(x.to(torch.promote_types(x.dtype, torch.float32)) for x in self))


class DecoderLevel(NamedTuple):
    """One scale of the pixel decoder as the transformer decoder reads it.

    Attributes:
        memory: (N, S, C) pixels, level embedding included.
        position: (S, C) sine encoding.
        mask_features: (N, C, S) mask features brought to this scale, without gradient.
    """

    memory: Tensor
    position: Tensor
    mask_features: Tensor

    @classmethod
    def build(cls, memory: Tensor, level_embed: Tensor, mask_features: Tensor) -> 'DecoderLevel':
        """Prepare one scale.

        Args:
            memory: (N, C, h, w), output of the pixel decoder at this scale.
            level_embed: (C,).
            mask_features: (N, C, H, W), stride 4.
        """
        C, h, w = memory.shape[1:]
        # Resizing is linear, so the masks of all queries need not be resized layer by layer.
        resized = F.interpolate(mask_features.detach(), (h, w), mode='bilinear')
        return cls(
            memory.flatten(2).transpose(1, 2) + level_embed,
            sine_position_encoding(h, w, C, memory.device),
            resized.flatten(2))


class MaskedTransformerDecoder(nn.Module):
    """Queries that read one scale after the other, each inside the mask it predicted last.

    Args:
        channels: Channels C of queries and memories.
        num_layers: Decoder layers.
        num_heads: Heads of each attention; must divide `channels`.
        ffn_channels: Hidden channels of the feed-forward parts.

    Raises:
        ValueError: `channels` cannot be divided among the heads.
    """

    def __init__(
        self, channels: int, num_layers: int = 9, num_heads: int = 8, ffn_channels: int = 2048
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MaskedDecoderLayer(channels, num_heads, ffn_channels) for _ in range(num_layers))
        self.post_norm = nn.LayerNorm(channels)

    def forward(
        self, query: Tensor, query_pos: Tensor, levels: Sequence[DecoderLevel],
        mask_embed: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Refine the queries.

        Args:
            query: (N, Q, C) content.
            query_pos: (Q, C) position.
            levels: Scales, coarse to fine; layer i reads scale i modulo their number.
            mask_embed: Turns normalised queries (N, Q, C) into mask embeddings (N, Q, C).

        Returns:
            (1 + layers, N, Q, C): normalised queries before the first and after each layer.
        """
        states = [self.post_norm(query)]
        for i, layer in enumerate(self.layers):
            level = levels[i % len(levels)]
            allowed = self._attention_mask(mask_embed(states[-1].detach()), level)
            query = layer(query, query_pos, level.memory, level.position, allowed)
            states.append(self.post_norm(query))
        return torch.stack(states)

    @staticmethod
    @torch.no_grad()
    def _attention_mask(mask_embeds: Tensor, level: DecoderLevel) -> Tensor:
        """(N, Q, S): the inside of each query's mask, or everything if the mask is empty."""
        inside = mask_embeds @ level.mask_features >= 0
        return inside | ~inside.any(-1, keepdim=True)
