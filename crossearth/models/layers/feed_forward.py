# SPDX-License-Identifier: Apache-2.0
"""Residual two-layer perceptron of a post-norm transformer (Vaswani et al., 2017, section 3.3)."""

from torch import Tensor, nn

__all__ = ['FeedForward']


class FeedForward(nn.Module):
    """`x + W2 relu(W1 x)`, with the parameter names of published Mask2Former checkpoints.

    Args:
        channels: Channels C in and out.
        hidden_channels: Channels between the two layers.
    """

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        expand, reduce = nn.Linear(channels, hidden_channels), nn.Linear(hidden_channels, channels)
        nn.init.xavier_normal_(expand.weight)
        nn.init.xavier_normal_(reduce.weight)
        self.layers = nn.Sequential(nn.Sequential(expand, nn.ReLU()), reduce)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token.

        Args:
            x: (..., C).

        Returns:
            (..., C).
        """
        out: Tensor = x + self.layers(x)
        return out
