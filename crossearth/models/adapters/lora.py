# SPDX-License-Identifier: Apache-2.0
"""LoRA: low-rank updates of the attention's projections (Hu et al., ICLR 2022, Eq. 3)."""

from typing import Literal

import torch
from torch import Tensor, nn

from crossearth.errors import ConfigError
from crossearth.registry import MODELS

from .within import BlockAdapter

__all__ = ['LoRA']


@MODELS.register_module()
class LoRA(BlockAdapter):
    """Add (alpha / rank) B A x to the queries and values, or to the keys too, of every block.

    A starts at random values of variance 1 / C, B at zero: at first nothing is added.

    Args:
        embed_dim: Channels C of a token.
        depth: Number of blocks.
        rank: Rows of A and columns of B.
        alpha: Scale; with it the learning rate need not follow the rank.
        projections: What is updated: 'qv' or 'qkv'.
        patch_size: Unused; part of the interface of adapters.

    Raises:
        ConfigError: `projections` is unknown.
    """

    place = 'attn.qkv'

    def __init__(
        self,
        embed_dim: int,
        depth: int,
        rank: int = 8,
        alpha: float = 16.0,
        projections: Literal['qv', 'qkv'] = 'qv',
        patch_size: int = 16,
    ) -> None:
        super().__init__()
        if projections not in ('qv', 'qkv'):
            raise ConfigError(f"backbone.adapter.projections={projections!r} is unknown. Choose "
                              "'qv' or 'qkv'.")
        self.scale = alpha / rank
        self.updated = ['qkv'.index(name) for name in projections]
        parts = len(projections)
        self.down = nn.Parameter(torch.randn(depth, parts, rank, embed_dim) * embed_dim**-0.5)
        self.up = nn.Parameter(torch.zeros(depth, parts, embed_dim, rank))

    def forward(self, x: Tensor, index: int) -> Tensor:
        """Give the update (B, N, 3 C) of q, k and v for tokens x (B, N, C)."""
        low = torch.einsum('bnc,prc->bnpr', x, self.down[index])
        high = torch.einsum('bnpr,pcr->bnpc', low, self.up[index]) * self.scale
        update = high.new_zeros(*x.shape[:-1], 3, x.shape[-1])
        update[..., self.updated, :] = high
        return update.flatten(-2)
