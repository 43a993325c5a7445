# SPDX-License-Identifier: Apache-2.0
"""Multi-head self-attention of a vision transformer (Dosovitskiy et al. 2021)."""

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ['Attention']


class Attention(nn.Module):
    """Multi-head self-attention with one fused projection, through PyTorch's fused kernels.

    Args:
        dim: Channels of a token.
        num_heads: Heads; `dim` must be a multiple of it.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among all tokens.

        Args:
            x: Tokens (B, N, C).

        Returns:
            Tokens (B, N, C).
        """
        B, N, C = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(B, N, C))
