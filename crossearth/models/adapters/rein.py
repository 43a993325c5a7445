# SPDX-License-Identifier: Apache-2.0
"""Rein adapters: tokens that refine the features of every block (Wei et al., CVPR 2024).

The same tokens, reduced over the layers, are the object queries of the Mask2Former head. Written
from the maths; parameter names are the published ones, so that published weights load.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossearth.registry import MODELS

__all__ = ['LoRARein', 'Rein']


@MODELS.register_module()
class Rein(nn.Module):
    """Rein with a full token matrix T_i (m, C) for each layer.

    Token 0 is a null slot: it takes attention but gives nothing.

    Args:
        embed_dim: Channels C of a patch token.
        depth: Number of blocks, each followed by its own tokens.
        num_tokens: Tokens m of a layer, and queries of the head.
        query_dim: Channels D of a query.
        patch_size: Side of a patch in px; only the range of the first values depends on it.
        scale_init: First value of the scale that all layers share.
    """

    def __init__(
        self,
        embed_dim: int,
        depth: int,
        num_tokens: int = 100,
        query_dim: int = 256,
        patch_size: int = 16,
        scale_init: float = 1e-3,
    ) -> None:
        super().__init__()
        self.embed_dim, self.depth, self.num_tokens = embed_dim, depth, num_tokens
        self.scale = nn.Parameter(torch.tensor(scale_init))
        # torch's own initialisation of Linear is the published one (kaiming uniform, a = sqrt 5)
        self.mlp_token2feat = nn.Linear(embed_dim, embed_dim)
        self.mlp_delta_f = nn.Linear(embed_dim, embed_dim)
        self.transform = nn.Linear(embed_dim, query_dim)
        self.merge = nn.Linear(3 * query_dim, query_dim)
        self._build_tokens(patch_size)

    def _build_tokens(self, patch_size: int) -> None:
        bound = math.sqrt(6 / (3 * patch_size**2 + self.embed_dim))
        self.learnable_tokens = _uniform(bound, self.depth, self.num_tokens, self.embed_dim)

    def tokens(self) -> Tensor:
        """Give the tokens of all layers (depth, m, C)."""
        return self.learnable_tokens

    def forward(self, feats: Tensor, tokens: Tensor) -> Tensor:
        """Refine the patch tokens of one layer.

        Args:
            feats: Patch tokens (B, N, C), without class and register tokens.
            tokens: Tokens (m, C) of this layer, a row of `tokens()`.

        Returns:
            Patch tokens (B, N, C).
        """
        attention = F.softmax(feats @ tokens.T * self.embed_dim**-0.5, dim=-1)
        # a zero row in the null slot's place equals leaving its attention out, without a copy of it
        values = F.pad(self.mlp_token2feat(tokens[1:]), (0, 0, 1, 0))
        delta = self.mlp_delta_f(attention @ values + feats)
        return feats + self.scale * delta

    def queries(self, tokens: Tensor) -> Tensor:
        """Make the head's queries from the tokens of all layers.

        Args:
            tokens: Tokens (depth, m, C).

        Returns:
            Queries (m, D), the same for every image.
        """
        projected = self.transform(tokens)
        reductions = [projected.amax(0), projected.mean(0), projected[-1]]
        # interleaved: input 3c + k of `merge` is reduction k of channel c, as published weights
        # expect
        return self.merge(torch.stack(reductions, dim=-1).flatten(1))


@MODELS.register_module()
class LoRARein(Rein):
    """Rein with low-rank tokens T_i = A_i B_i, the variant that CrossEarth trains.

    Args:
        embed_dim: Channels C of a patch token.
        depth: Number of blocks.
        num_tokens: Tokens m of a layer.
        rank: Columns r of A.
        query_dim: Channels D of a query.
        patch_size: Side of a patch in px.
        scale_init: First value of the shared scale.
    """

    def __init__(
        self,
        embed_dim: int,
        depth: int,
        num_tokens: int = 100,
        rank: int = 16,
        query_dim: int = 256,
        patch_size: int = 16,
        scale_init: float = 1e-3,
    ) -> None:
        self.rank = rank
        super().__init__(embed_dim, depth, num_tokens, query_dim, patch_size, scale_init)

    def _build_tokens(self, patch_size: int) -> None:
        bound = math.sqrt(6 / (3 * patch_size**2 + math.sqrt(self.embed_dim * self.rank)))
        self.learnable_tokens_a = _uniform(bound, self.depth, self.num_tokens, self.rank)
        self.learnable_tokens_b = _uniform(bound, self.depth, self.rank, self.embed_dim)

    def tokens(self) -> Tensor:
        """Give the tokens of all layers (depth, m, C)."""
        return self.learnable_tokens_a @ self.learnable_tokens_b


def _uniform(bound: float, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
