# SPDX-License-Identifier: Apache-2.0
"""Pixel decoder of Mask2Former: deformable attention among three scales, then one FPN step.

Cheng et al., Mask2Former, 2022, section 4.1. Parameter names are those of published checkpoints.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossearth.models.layers.deformable_attention import (
    MultiScaleDeformableAttention,
    pixel_centres,
)
from crossearth.models.layers.feed_forward import FeedForward
from crossearth.models.layers.position_encoding import sine_position_encoding
from crossearth.models.layers.pyramid import project

__all__ = ['MSDeformAttnPixelDecoder']

NUM_LEVELS = 3  # strides 32, 16, 8; stride 4 only joins by the FPN step


class _ConvGN(nn.Module):
    """Convolution that keeps the size, then GroupNorm. Input convolutions are biased.

    It takes a pyramid and which of its maps is meant: with a 1x1 kernel, on that of a `Pyramid` it
    may run before the resize.
    """

    def __init__(
        self, in_channels: int, channels: int, kernel: int, num_groups: int, bias: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=bias)
        self.gn = nn.GroupNorm(num_groups, channels)
        if self.conv.bias is None:
            nn.init.kaiming_uniform_(self.conv.weight, a=1)  # Caffe2's "Xavier": fan-in only
        else:
            nn.init.xavier_uniform_(self.conv.weight)
            nn.init.zeros_(self.conv.bias)

    def forward(self, maps: Sequence[Tensor], index: int) -> Tensor:
        out: Tensor = self.gn(project(maps, index, self.conv))
        return out


class _EncoderLayer(nn.Module):
    """Deformable self-attention and feed-forward, each residual and followed by LayerNorm."""

    def __init__(self, channels: int, num_heads: int, num_points: int, ffn_channels: int) -> None:
        super().__init__()
        self.self_attn = MultiScaleDeformableAttention(channels, num_heads, NUM_LEVELS, num_points)
        self.ffn = FeedForward(channels, ffn_channels)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))

    def forward(
        self, x: Tensor, position: Tensor, reference: Tensor, shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        x = self.norms[0](x + self.self_attn(x + position, x, reference, shapes))
        out: Tensor = self.norms[1](self.ffn(x))
        return out


class _Encoder(nn.Module):
    """A stack of layers; a module of its own because published parameter names have it."""

    def __init__(self, layers: Iterable[_EncoderLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(
        self, x: Tensor, position: Tensor, reference: Tensor, shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        for layer in self.layers:
            x = layer(x, position, reference, shapes)
        return x


class MSDeformAttnPixelDecoder(nn.Module):
    """Make mask features and three memories from four feature maps.

    Args:
        in_channels: Channels of the maps at strides 4, 8, 16, 32.
        channels: Channels C of all that comes out.
        num_layers: Encoder layers.
        num_heads: Heads of the deformable attention; must divide `channels`.
        num_points: Points that a head reads on each level.
        ffn_channels: Hidden channels of the feed-forward parts.
        num_groups: Groups of each GroupNorm; must divide `channels`.

    Raises:
        ValueError: `channels` cannot be divided among heads or groups.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, num_layers: int = 6, num_heads: int = 8,
        num_points: int = 4, ffn_channels: int = 1024, num_groups: int = 32,
    ) -> None:
        super().__init__()
        stride4, *coarser = in_channels
        self.input_convs = nn.ModuleList(
            _ConvGN(c, channels, 1, num_groups, bias=True) for c in reversed(coarser))
        self.encoder = _Encoder(
            _EncoderLayer(channels, num_heads, num_points, ffn_channels)
            for _ in range(num_layers))
        self.level_encoding = nn.Embedding(NUM_LEVELS, channels)
        self.lateral_convs = nn.ModuleList([_ConvGN(stride4, channels, 1, num_groups, bias=False)])
        self.output_convs = nn.ModuleList([_ConvGN(channels, channels, 3, num_groups, bias=False)])
        self.mask_feature = nn.Conv2d(channels, channels, 1)
        nn.init.kaiming_uniform_(self.mask_feature.weight, a=1)
        nn.init.zeros_(self.mask_feature.get_parameter('bias'))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Decode.

        Args:
            features: Four maps (N, in_channels, h, w) at strides 4, 8, 16, 32.

        Returns:
            Mask features (N, C, h, w) at stride 4 and memories (N, C, h, w) at strides 32, 16, 8.
        """
        projected = [
            conv(features, index)
            for conv, index in zip(self.input_convs, (3, 2, 1), strict=True)]
        memories = self._encode(projected)
        lateral = self.lateral_convs[0](features, 0)
        up = F.interpolate(memories[-1], lateral.shape[-2:], mode='bilinear')
        fused = F.relu(self.output_convs[0]([lateral + up], 0))
        return self.mask_feature(fused), memories

    def _encode(self, maps: list[Tensor]) -> list[Tensor]:
        """Let the pixels of all maps (N, C, h, w) attend to each other."""
        C, device = maps[0].shape[1], maps[0].device
        shapes = [(x.shape[-2], x.shape[-1]) for x in maps]
        position = torch.cat([
            sine_position_encoding(h, w, C, device) + level
            for (h, w), level in zip(shapes, self.level_encoding.weight, strict=True)])
        x = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], 1)
        x = self.encoder(x, position, pixel_centres(shapes, device), shapes)
        parts = torch.split(x.transpose(1, 2), [h * w for h, w in shapes], -1)
        return [part.reshape(m.shape) for part, m in zip(parts, maps, strict=True)]
