# SPDX-License-Identifier: Apache-2.0
"""Self-attention of a whole grid with decomposed relative positions (Li et al., 2022)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .relative_position import decomposed_bias, resize_distances

__all__ = ['RelativeAttention']


class RelativeAttention(nn.Module):
    """Multi-head self-attention with relative positions, which start at zero.

    As in published weights, the scaled query asks for the relative positions; in windows, see
    `RotatedWindowAttention`, it is the query itself. Parameter names are those of the weights.

    Args:
        dim: Channels of a token.
        num_heads: Heads; `dim` must be a multiple of it.
        grid: Rows and columns of the relative positions; resized for another grid.
    """

    def __init__(self, dim: int, num_heads: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.full_attn_rel_pos_h, self.full_attn_rel_pos_w = (
            nn.Parameter(torch.zeros(2 * side - 1, dim // num_heads)) for side in grid)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Attend among all tokens.

        Args:
            x: Tokens (B, N, C) of a grid, row by row.
            grid: (rows, columns) of the tokens.

        Returns:
            Tokens (B, N, C).
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        rows = resize_distances(self.full_attn_rel_pos_h, grid[0])
        columns = resize_distances(self.full_attn_rel_pos_w, grid[1])
        bias = decomposed_bias(q * q.shape[-1] ** -0.5, rows, columns, grid)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return self.proj(out.transpose(1, 2).flatten(2))
