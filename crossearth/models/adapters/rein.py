# SPDX-License-Identifier: Apache-2.0
"""Rein adapters: tokens that refine the features of every block (Wei et al., CVPR 2024).

The same tokens, reduced over the layers, are the object queries of the Mask2Former head. Written
from the maths; parameter names are the published ones, so that published weights load.
"""

import math
from functools import reduce
from operator import matmul
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossearth.registry import MODELS

__all__ = ['LayerTokens', 'LoRARein', 'Rein']


class LayerTokens(NamedTuple):
    """What the patch tokens f (N, C) of one layer meet of its tokens T (m, C).

    Attributes:
        keys: Matrices, f times all of which is f T^T (N, m).
        values: Matrices, the attention (N, m) times all of which is what it gives (N, C). The null
            slot's row is zero: the attention to it need not be left out, which would be a copy.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


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
        link_token_to_query: Whether the tokens make the head's queries too. Without it the head is
            one with queries of its own, `Mask2FormerHead` or any other.
    """

    def __init__(
        self,
        embed_dim: int,
        depth: int,
        num_tokens: int = 100,
        query_dim: int = 256,
        patch_size: int = 16,
        scale_init: float = 1e-3,
        link_token_to_query: bool = True,
    ) -> None:
        super().__init__()
        self.embed_dim, self.depth, self.num_tokens = embed_dim, depth, num_tokens
        self.scale = nn.Parameter(torch.tensor(scale_init))
        # torch's own initialisation of Linear is the published one (kaiming uniform, a = sqrt 5)
        self.mlp_token2feat = nn.Linear(embed_dim, embed_dim)
        self.mlp_delta_f = nn.Linear(embed_dim, embed_dim)
        self.link_token_to_query = link_token_to_query
        if link_token_to_query:
            self.transform = nn.Linear(embed_dim, query_dim)
            self.merge = nn.Linear(3 * query_dim, query_dim)
        self._build_tokens(patch_size)

    def _build_tokens(self, patch_size: int) -> None:
        bound = math.sqrt(6 / (3 * patch_size**2 + self.embed_dim))
        self.learnable_tokens = _uniform(bound, self.depth, self.num_tokens, self.embed_dim)

    def tokens(self) -> list[LayerTokens]:
        """Give the tokens of all layers, made for one step, since training changes them."""
        values = _without_null_slot(self.mlp_token2feat(self.learnable_tokens))
        return [LayerTokens((token.T,), (value,))
                for token, value in zip(self.learnable_tokens, values, strict=True)]

    def forward(self, feats: Tensor, tokens: LayerTokens) -> Tensor:
        """Refine the patch tokens of one layer.

        Args:
            feats: Patch tokens (B, N, C), without class and register tokens.
            tokens: Of this layer, from `tokens()`.

        Returns:
            Patch tokens (B, N, C).
        """
        attention = F.softmax(reduce(matmul, tokens.keys, feats) * self.embed_dim**-0.5, dim=-1)
        given = reduce(matmul, tokens.values, attention)
        return feats + self.scale * self.mlp_delta_f(given + feats)

    def queries(self) -> Tensor | None:
        """Make the head's queries (m, D), the same for every image, from all layers' tokens.

        None if the tokens are not linked to the queries.
        """
        if not self.link_token_to_query:
            return None
        projected = self._project_tokens()
        reductions = [projected.amax(0), projected.mean(0), projected[-1]]
        # interleaved: input 3c + k of `merge` is reduction k of channel c, as published weights
        # expect
        queries: Tensor = self.merge(torch.stack(reductions, dim=-1).flatten(1))
        return queries

    def _project_tokens(self) -> Tensor:
        """Tokens of all layers as parts (depth, m, D) of queries."""
        projected: Tensor = self.transform(self.learnable_tokens)
        return projected


@MODELS.register_module()
class LoRARein(Rein):
    """Rein with low-rank tokens T_i = A_i B_i, the variant that CrossEarth trains.

    T_i itself is never made: what meets it meets A_i and B_i one after the other.

    Args:
        embed_dim: Channels C of a patch token.
        depth: Number of blocks.
        num_tokens: Tokens m of a layer.
        rank: Columns r of A.
        query_dim: Channels D of a query.
        patch_size: Side of a patch in px.
        scale_init: First value of the shared scale.
        link_token_to_query: Whether the tokens make the head's queries too.
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
        link_token_to_query: bool = True,
    ) -> None:
        self.rank = rank
        super().__init__(
            embed_dim, depth, num_tokens, query_dim, patch_size, scale_init, link_token_to_query)

    def _build_tokens(self, patch_size: int) -> None:
        bound = math.sqrt(6 / (3 * patch_size**2 + math.sqrt(self.embed_dim * self.rank)))
        self.learnable_tokens_a = _uniform(bound, self.depth, self.num_tokens, self.rank)
        self.learnable_tokens_b = _uniform(bound, self.depth, self.rank, self.embed_dim)

    def tokens(self) -> list[LayerTokens]:
        """Give the tokens of all layers, made for one step, since training changes them."""
        a, b = self.learnable_tokens_a, self.learnable_tokens_b
        # T W^T + bias = [A, 1] [B W^T; bias]
        left = _without_null_slot(F.pad(a, (0, 1), value=1.0))
        bias = self.mlp_token2feat.bias.expand(self.depth, 1, -1)
        right = torch.cat([F.linear(b, self.mlp_token2feat.weight), bias], dim=1)
        return [LayerTokens((b_i.T, a_i.T), (left_i, right_i))
                for a_i, b_i, left_i, right_i in zip(a, b, left, right, strict=True)]

    def _project_tokens(self) -> Tensor:
        """Tokens of all layers as parts (depth, m, D) of queries."""
        low = F.linear(self.learnable_tokens_b, self.transform.weight)
        return self.learnable_tokens_a @ low + self.transform.bias


def _without_null_slot(values: Tensor) -> Tensor:
    """Values (depth, m, ...) with zeros in the place of token 0."""
    return F.pad(values[:, 1:], (0, 0, 1, 0))


def _uniform(bound: float, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
