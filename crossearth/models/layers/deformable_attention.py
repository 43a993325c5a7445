# SPDX-License-Identifier: Apache-2.0
"""Multi-scale deformable attention in plain PyTorch (Zhu et al., Deformable DETR, 2021, Eq. 3).

Each head of each query reads a few points around the query's own place on every level, at places
and with weights that the query predicts. Parameter names are those of published checkpoints.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .sparse_sampling import SparseSampling

__all__ = ['MultiScaleDeformableAttention', 'deformable_attention', 'pixel_centres']

Shapes = Sequence[tuple[int, int]]

SPARSE_DTYPES = (torch.float32, torch.float64)


def pixel_centres(shapes: Shapes, device: torch.device | None = None) -> Tensor:
    """Centres of all pixels of all levels.

    Args:
        shapes: (height, width) of each level in px.
        device: Where the result lies.

    Returns:
        (S, 2) float32 pairs (x, y), each in (0, 1); S is the number of pixels of all levels.
    """
    centres = []
    for h, w in shapes:
        y = (torch.arange(h, dtype=torch.float32, device=device) + 0.5) / h
        x = (torch.arange(w, dtype=torch.float32, device=device) + 0.5) / w
        centres.append(torch.stack((x.repeat(h), y.repeat_interleave(w)), -1))
    return torch.cat(centres)


def deformable_attention(
    value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor
) -> Tensor:
    """Weighted sums of bilinearly sampled values; outside a level the value is zero.

    Args:
        value: (N, S, heads, D), the pixels of all levels one after the other.
        shapes: (height, width) of each level in px; their areas sum to S.
        locations: (N, Q, heads, levels, points, 2) pairs (x, y); (0, 0) and (1, 1) are a level's
            outer corners.
        weights: (N, Q, heads, levels, points).

    Returns:
        (N, Q, heads * D).
    """
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # torch's own
    recorded = tracing or torch.compiler.is_compiling()
    if not recorded and value.device.type == 'cpu' and value.dtype in SPARSE_DTYPES:
        out: Tensor = SparseSampling.apply(value, shapes, locations, weights)
        return out
    return _sample_levels(value, shapes, locations, weights)


def _sample_levels(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Do it by `grid_sample`: quickest on a GPU, and known to compilers and exporters."""
    N, Q, heads = locations.shape[:3]
    # Queries last, (levels, N * heads, points, Q): sums over the short axis of points are then
    # sums of rows.
    grids = (2 * locations - 1).permute(3, 0, 2, 4, 1, 5).flatten(1, 2)
    weights = weights.permute(3, 0, 2, 4, 1).flatten(1, 2)
    out = value.new_zeros(())
    # Level by level: stacking the levels first would double the memory of the largest tensor.
    for i, pixels in enumerate(torch.split(value, [h * w for h, w in shapes], dim=1)):
        maps = pixels.permute(0, 2, 3, 1).reshape(N * heads, -1, *shapes[i])
        sampled = F.grid_sample(maps, grids[i], align_corners=False)
        out = out + (sampled * weights[i, :, None]).sum(2)
    return out.reshape(N, -1, Q).transpose(1, 2)


class MultiScaleDeformableAttention(nn.Module):
    """Deformable attention of queries to the pixels of several levels, without the residual.

    Args:
        channels: Channels C of queries and values.
        num_heads: Heads; must divide `channels`.
        num_levels: Levels that each query reads.
        num_points: Points that each head reads on each level.

    Raises:
        ValueError: `channels` cannot be divided among the heads.
    """

    def __init__(
        self, channels: int, num_heads: int = 8, num_levels: int = 3, num_points: int = 4
    ) -> None:
        super().__init__()
        if channels % num_heads:
            raise ValueError(f'channels ({channels}) must be a multiple of num_heads ({num_heads})')
        self.layout = (num_heads, num_levels, num_points)
        samples = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(channels, 2 * samples)
        self.attention_weights = nn.Linear(channels, samples)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Head k starts on the ray of angle 2 pi k / heads, its point p at distance p + 1 px."""
        heads, levels, points = self.layout
        angle = torch.arange(heads) * (2 * math.pi / heads)
        ray = torch.stack((angle.cos(), angle.sin()), -1)
        ray = ray / ray.abs().amax(-1, keepdim=True)
        distance = torch.arange(1, points + 1)
        offsets = ray.view(heads, 1, 1, 2) * distance.view(1, 1, points, 1)
        nn.init.zeros_(self.sampling_offsets.weight)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(heads, levels, points, 2).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, query: Tensor, value: Tensor, reference: Tensor, shapes: Shapes) -> Tensor:
        """Attend.

        Args:
            query: (N, Q, C), position encoding included.
            value: (N, S, C), the pixels of all levels one after the other.
            reference: (Q, 2) places (x, y) of the queries in [0, 1].
            shapes: (height, width) of each level in px; their areas sum to S.

        Returns:
            (N, Q, C).
        """
        N, Q, C = query.shape
        heads, levels, points = self.layout
        # At least float32: bfloat16 has 8 bits, too few for a place on a map of 128 px.
        dtype = torch.promote_types(query.dtype, torch.float32)
        offsets = self.sampling_offsets(query).view(N, Q, heads, levels, points, 2).to(dtype)
        weights = self.attention_weights(query).view(N, Q, heads, -1).to(dtype).softmax(-1)
        # repeated: to broadcast along axes as short as these takes twenty times as long
        size = offsets.new_tensor([(w, h) for h, w in shapes])[:, None].repeat(1, points, 1)
        locations = reference[:, None, None, None] + offsets / size
        out = deformable_attention(
            self.value_proj(value).view(N, -1, heads, C // heads).to(dtype),
            shapes, locations, weights.view(N, Q, heads, levels, points))
        projected: Tensor = self.output_proj(out)
        return projected
