# SPDX-License-Identifier: Apache-2.0
"""Stochastic depth: drop a residual branch of a sample at random (Huang et al. 2016)."""

from torch import Tensor, nn

__all__ = ['DropPath']


class DropPath(nn.Module):
    """Zero whole samples with probability `rate` in training, and scale up the others.

    Args:
        rate: Probability in [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, ...) to the same shape; the identity in eval mode or at rate 0."""
        if not self.training or self.rate == 0:
            return x
        keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)
