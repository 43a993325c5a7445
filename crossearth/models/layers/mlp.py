# SPDX-License-Identifier: Apache-2.0
"""The two feed-forward networks of DINOv2: a GELU MLP (S, B, L) and a SwiGLU (g; Shazeer 2020)."""

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ['Mlp', 'SwiGLU']


class Mlp(nn.Module):
    """Linear, exact GELU, Linear.

    Args:
        dim: Channels of a token.
        hidden_dim: Channels between the two layers.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, C) to tokens (B, N, C)."""
        return self.fc2(F.gelu(self.fc1(x)))


class SwiGLU(nn.Module):
    """`w3(silu(a) * b)` with `a, b` the halves of `w12(x)`.

    Args:
        dim: Channels of a token.
        hidden_dim: Channels of each half.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(dim, 2 * hidden_dim)
        self.w3 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, C) to tokens (B, N, C)."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)
