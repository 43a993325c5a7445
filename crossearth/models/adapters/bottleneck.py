# SPDX-License-Identifier: Apache-2.0
"""Bottleneck adapters beside the feed-forward networks (Chen et al., AdaptFormer, NeurIPS 2022).

After Houlsby et al., ICML 2019, whose adapters come after the network; these see what it sees.
"""

from torch import Tensor, nn

from crossearth.registry import MODELS

from .within import BlockAdapter

__all__ = ['BottleneckAdapter']


@MODELS.register_module()
class BottleneckAdapter(BlockAdapter):
    """Add scale * W_up relu(W_down x) to the feed-forward network of every block, x its input.

    W_up starts at zero: at first nothing is added. A layer scale that follows the network scales
    this too.

    Args:
        embed_dim: Channels of a token.
        depth: Number of blocks.
        dim: Channels of the bottleneck.
        scale: Fixed scale.
        patch_size: Unused; part of the interface of adapters.
    """

    place = 'mlp'

    def __init__(
        self, embed_dim: int, depth: int, dim: int = 64, scale: float = 0.1, patch_size: int = 16,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.layers = nn.ModuleList(_bottleneck(embed_dim, dim) for _ in range(depth))

    def forward(self, x: Tensor, index: int) -> Tensor:
        """Give the update (B, N, C) of the network's output for tokens x (B, N, C)."""
        out: Tensor = self.layers[index](x) * self.scale
        return out


def _bottleneck(embed_dim: int, dim: int) -> nn.Sequential:
    up = nn.Linear(dim, embed_dim)
    nn.init.zeros_(up.weight)
    nn.init.zeros_(up.bias)
    return nn.Sequential(nn.Linear(embed_dim, dim), nn.ReLU(), up)
