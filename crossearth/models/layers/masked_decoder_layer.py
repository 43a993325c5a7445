# SPDX-License-Identifier: Apache-2.0
"""Decoder layer with masked attention (Cheng et al., Mask2Former, 2022, section 3.2.1).

Order: cross-attention, self-attention, feed-forward; each residual, each followed by LayerNorm.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .feed_forward import FeedForward

__all__ = ['MaskedDecoderLayer']


class _PackedAttention(nn.Module):
    """Multi-head attention with the packed parameters of `torch.nn.MultiheadAttention`.

    That module wants the mask repeated for each head; here it is broadcast.
    """

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f'channels ({channels}) must be a multiple of num_heads ({num_heads})')
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_normal_(self.in_proj_weight)
        nn.init.xavier_normal_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None
    ) -> Tensor:
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (
            F.linear(x, weight, bias).view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True))
        mask = None if allowed is None else allowed[:, None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        projected: Tensor = self.out_proj(out.transpose(1, 2).flatten(2))
        return projected


class _ResidualAttention(nn.Module):
    """Attention plus its query; positions are added to query and key, never to the value."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.attn = _PackedAttention(channels, num_heads)

    def forward(
        self, query: Tensor, query_pos: Tensor, memory: Tensor, memory_pos: Tensor,
        allowed: Tensor | None = None,
    ) -> Tensor:
        out: Tensor = query + self.attn(query + query_pos, memory + memory_pos, memory, allowed)
        return out


class MaskedDecoderLayer(nn.Module):
    """One layer that lets queries read a feature map inside their own masks.

    Args:
        channels: Channels C of queries and memory.
        num_heads: Heads of both attentions; must divide `channels`.
        ffn_channels: Hidden channels of the feed-forward part.

    Raises:
        ValueError: `channels` cannot be divided among the heads.
    """

    def __init__(self, channels: int, num_heads: int, ffn_channels: int) -> None:
        super().__init__()
        self.self_attn = _ResidualAttention(channels, num_heads)
        self.cross_attn = _ResidualAttention(channels, num_heads)
        self.ffn = FeedForward(channels, ffn_channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))

    def forward(
        self, query: Tensor, query_pos: Tensor, memory: Tensor, memory_pos: Tensor, allowed: Tensor
    ) -> Tensor:
        """Update the queries.

        Args:
            query: (N, Q, C).
            query_pos: (Q, C) or (N, Q, C).
            memory: (N, S, C), the pixels of one level.
            memory_pos: (S, C).
            allowed: (N, Q, S) bool, where a query may look; no row may be all False.

        Returns:
            (N, Q, C).
        """
        query = self.norms[0](self.cross_attn(query, query_pos, memory, memory_pos, allowed))
        query = self.norms[1](self.self_attn(query, query_pos, query, query_pos))
        out: Tensor = self.norms[2](self.ffn(query))
        return out
