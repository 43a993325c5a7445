# SPDX-License-Identifier: Apache-2.0
"""Geospatial Semantic Extractor (GSE) and Injector (arXiv 2410.22629, section 3.1, Eq. 7).

The paper fixes five convolutions with ReLU on the image itself, and "a simple cross-attention"
with the geospatial features as queries and the backbone's features as keys and values, which
refines every layer. Their code was never published; the sizes below are this project's reading,
and the arguments hold the others.
"""

from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossearth.registry import MODELS

__all__ = ['GeospatialSemanticExtractor', 'Injector']


@MODELS.register_module()
class GeospatialSemanticExtractor(nn.Module):
    """Five convolutions with ReLU, 3-64-128-256-512-C, the first four of stride 2.

    Args:
        embed_dim: Channels C of the geospatial tokens, those of the backbone.
        last_kernel: Kernel of the fifth convolution: 3 (default), or 1 for the light variant.
    """

    def __init__(self, embed_dim: int, last_kernel: Literal[1, 3] = 3) -> None:
        super().__init__()
        widths = (3, 64, 128, 256, 512)
        layers: list[nn.Module] = []
        for in_chans, out_chans in pairwise(widths):
            layers += [nn.Conv2d(in_chans, out_chans, 3, stride=2, padding=1), nn.ReLU()]
        last = nn.Conv2d(widths[-1], embed_dim, last_kernel, padding=last_kernel // 2)
        self.convs = nn.Sequential(*layers, last, nn.ReLU())

    def forward(self, image: Tensor) -> Tensor:
        """Extract one geospatial token for each 16 px patch.

        Args:
            image: Normalised image (B, 3, H, W); H and W multiples of 16.

        Returns:
            Geospatial tokens (B, H/16 * W/16, C), in the order of the patch tokens.
        """
        # Five layers without a norm: under mixed precision their values leave the range of float16.
        with torch.autocast(image.device.type, enabled=False):
            return self.convs(image).flatten(2).transpose(1, 2)


@MODELS.register_module()
class Injector(nn.Module):
    """Cross-attention f + gamma_i * W_o MHA(q = W_q LN(G), k = W_k LN(f), v = W_v LN(f)).

    Args:
        embed_dim: Channels C of a token.
        num_sites: Number of places where it acts, each with its own gamma (C).
        dim: Width of the attention; 0 leaves the projections out: softmax(LN(G) LN(f)^T / sqrt C)
            LN(f).
        num_heads: Heads of the attention; unused when `dim` is 0.
        share: One set of projections for all places, or one for each.
        scale_init: First value of every gamma. Small, so that the pre-trained features stay intact.
    """

    def __init__(
        self,
        embed_dim: int,
        num_sites: int,
        dim: int = 256,
        num_heads: int = 8,
        share: bool = True,
        scale_init: float = 1e-3,
    ) -> None:
        super().__init__()
        self.share = share
        self.attentions = nn.ModuleList(
            _CrossAttention(embed_dim, dim, num_heads) for _ in range(1 if share else num_sites))
        self.gamma = nn.Parameter(torch.full((num_sites, embed_dim), scale_init))

    def forward(self, feats: Tensor, geo: Tensor, site: int) -> Tensor:
        """Inject geospatial tokens into the patch tokens of one place.

        Args:
            feats: Patch tokens (B, N, C).
            geo: Geospatial tokens (B, N, C).
            site: Index of the place, in [0, num_sites).

        Returns:
            Patch tokens (B, N, C).
        """
        attention = self.attentions[0 if self.share else site]
        return feats + self.gamma[site] * attention(geo, feats)

    def weights(self, feats: Tensor, geo: Tensor, site: int) -> Tensor:
        """Give the attention of one place, which `forward` never holds: it grows with N squared.

        Args:
            feats: Patch tokens (B, N, C).
            geo: Geospatial tokens (B, N, C), the queries.
            site: Index of the place.

        Returns:
            Shares (B, heads, N, N) of the patch tokens, the last dimension, which add up to 1.
        """
        attention: Any = self.attentions[0 if self.share else site]
        return attention.weights(geo, feats)


class _CrossAttention(nn.Module):
    """Normalised, optionally low-rank cross-attention from geospatial to patch tokens."""

    def __init__(self, embed_dim: int, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads if dim else 1
        self.norm_geo = nn.LayerNorm(embed_dim)
        self.norm_feats = nn.LayerNorm(embed_dim)
        self.query, self.key, self.value = (
            nn.Linear(embed_dim, dim) if dim else nn.Identity() for _ in range(3))
        self.out = nn.Linear(dim, embed_dim) if dim else nn.Identity()

    def forward(self, geo: Tensor, feats: Tensor) -> Tensor:
        q, k, v = self._project(geo, feats)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def weights(self, geo: Tensor, feats: Tensor) -> Tensor:
        q, k, _ = self._project(geo, feats)
        return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)

    def _project(self, geo: Tensor, feats: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, heads, N, width)."""
        feats = self.norm_feats(feats)
        q, k, v = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in (
            self.query(self.norm_geo(geo)), self.key(feats), self.value(feats)))
        return q, k, v
