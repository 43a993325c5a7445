# SPDX-License-Identifier: Apache-2.0
"""The backbone as published: softmax matrices, Rein's copies, four resized maps."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from crossearth.models.adapters.geospatial import Injector
from crossearth.models.adapters.rein import LoRARein
from crossearth.models.backbones.dinov2 import DINOv2
from crossearth.models.layers.attention import Attention

__all__ = ['PlainAttention', 'PlainDINOv2', 'PlainInjector', 'PlainRein']

SCALES = (4.0, 2.0, 1.0, 0.5)  # of the patch grid


def softmax_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend with the whole matrix of weights in memory; all (B, heads, N, D)."""
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    return weights.softmax(-1) @ v


class PlainAttention(Attention):
    """Self-attention that writes its matrix of weights."""

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, C) to tokens (B, N, C)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(softmax_attention(q, k, v).transpose(1, 2).flatten(2))


class PlainInjector(Injector):
    """Cross-attention that writes its matrix of weights."""

    def forward(self, feats: Tensor, geo: Tensor, site: int) -> Tensor:
        """Refine patch tokens (B, N, C) by geospatial tokens (B, N, C)."""
        attention = self.attentions[0 if self.share else site]
        feats_, geo = attention.norm_feats(feats), attention.norm_geo(geo)
        q, k, v = (
            x.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
            for x in (attention.query(geo), attention.key(feats_), attention.value(feats_)))
        out = attention.out(softmax_attention(q, k, v).transpose(1, 2).flatten(2))
        return feats + self.gamma[site] * out


class PlainRein(LoRARein):
    """Rein in the layout (N, B, C), with a token product in every layer and sliced slots."""

    def layer_tokens(self, layer: int) -> Tensor:
        """Multiply out the tokens (m, C) of a layer."""
        return self.learnable_tokens_a[layer] @ self.learnable_tokens_b[layer]

    def forward(self, x: Tensor, layer: int) -> Tensor:
        """Refine tokens (B, 1 + N, C), of which the first is the class token."""
        x = x.permute(1, 0, 2)
        prefix, feats = torch.split(x, [1, len(x) - 1])
        tokens = self.layer_tokens(layer)
        weights = torch.einsum('nbc,mc->nbm', feats, tokens) * self.embed_dim**-0.5
        weights = F.softmax(weights, -1)
        delta = torch.einsum(
            'nbm,mc->nbc', weights[:, :, 1:], self.mlp_token2feat(tokens[1:, :]))
        delta = self.mlp_delta_f(delta + feats)
        return torch.cat([prefix, feats + delta * self.scale]).permute(1, 0, 2)

    def object_queries(self) -> Tensor:
        """Multiply all tokens out once more, and reduce them to queries (m, D)."""
        tokens = torch.stack([self.layer_tokens(layer) for layer in range(self.depth)])
        projected = self.transform(tokens).permute(1, 2, 0)
        reduced = [projected.max(-1).values, projected.mean(-1), projected[:, :, -1]]
        return self.merge(torch.stack(reduced, -1).flatten(-2))


class PlainDINOv2(DINOv2):
    """Blocks, Rein and Injector one after the other; one flow, hence one switch, for each pass."""

    def forward(self, image: Tensor, geospatial: bool = True) -> tuple[list[Tensor], Tensor]:
        """Extract maps of strides 4, 8, 16 and 32, and queries, of images (B, 3, H, W)."""
        return self.pyramid(self.maps(image, geospatial)), self.reins.object_queries()

    def maps(self, image: Tensor, geospatial: bool = True) -> list[Tensor]:
        """Extract the four maps (B, C, H/16, W/16) of the patch grid."""
        grid = [side // self.patch_size for side in image.shape[-2:]]
        geo = None
        if geospatial and self.gse is not None:
            geo = self.gse(image)
        x, context = self.tokenize(image)
        maps = []
        for index in range(self.depth):
            x = self._layer(index, x, context, geo)
            if index in self.out_indices:
                maps.append(x[:, 1:].permute(0, 2, 1).reshape(len(x), -1, *grid).contiguous())
        return maps

    def pyramid(self, maps: list[Tensor]) -> list[Tensor]:
        """Resize maps of the patch grid, with all their channels."""
        return [m if scale == 1 else F.interpolate(m, scale_factor=scale, mode='bilinear')
                for m, scale in zip(maps, SCALES, strict=True)]

    def _layer(self, index: int, x: Tensor, context: Any, geo: Tensor | None) -> Tensor:
        x = self.reins(self.run_block(index, x, context), index)
        if geo is None:
            return x
        return torch.cat([x[:, :1], self.injector(x[:, 1:], geo, index)], 1)
