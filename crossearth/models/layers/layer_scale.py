# SPDX-License-Identifier: Apache-2.0
"""Per-channel scale of a residual branch (LayerScale, Touvron et al. 2021)."""

import torch
from torch import Tensor, nn

__all__ = ['LayerScale']


class LayerScale(nn.Module):
    """Multiply by a learned vector.

    Args:
        dim: Channels of a token.
        init: First value of every element.
    """

    def __init__(self, dim: int, init: float = 1.0) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), init))

    def forward(self, x: Tensor) -> Tensor:
        """Scale tokens (B, N, C) to tokens (B, N, C)."""
        return x * self.gamma
