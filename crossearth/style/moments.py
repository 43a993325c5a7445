# SPDX-License-Identifier: Apache-2.0
"""Mean and covariance of a stream in constant memory (Welford; Chan, Golub and LeVeque 1983)."""

import torch
from torch import Tensor

__all__ = ['RunningMoments']


class RunningMoments:
    """Number, mean and scatter of all vectors seen, in float64.

    Args:
        dim: Number of entries D of a vector.
    """

    def __init__(self, dim: int) -> None:
        self.count = 0
        self.mean = torch.zeros(dim, dtype=torch.float64)
        self.scatter = torch.zeros(dim, dim, dtype=torch.float64)

    @classmethod
    def restore(cls, count: int, mean: Tensor, scatter: Tensor) -> 'RunningMoments':
        """Go on from the attributes of another one: mean (D,), scatter (D, D)."""
        moments = cls(len(mean))
        moments.count, moments.mean, moments.scatter = count, mean, scatter
        return moments

    def update(self, vectors: Tensor) -> None:
        """Take in vectors (N, D) of any device and float type; N may be 0."""
        if not len(vectors):
            return
        vectors = vectors.detach().to('cpu', torch.float64)
        mean = vectors.mean(dim=0)
        centred = vectors - mean
        total = self.count + len(vectors)
        shift = mean - self.mean
        between = self.count * len(vectors) / total
        self.scatter += centred.T @ centred + between * torch.outer(shift, shift)
        self.mean = self.mean + shift * (len(vectors) / total)
        self.count = total

    def covariance(self) -> Tensor:
        """Give the unbiased covariance (D, D); NaN for fewer than two vectors."""
        return self.scatter / (self.count - 1) if self.count > 1 else self.scatter * torch.nan
