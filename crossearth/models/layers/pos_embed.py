# SPDX-License-Identifier: Apache-2.0
"""Learned position embeddings of a grid of patches and their resizing to another grid."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['resize_pos_embed']


def resize_pos_embed(
    pos_embed: Tensor,
    grid: tuple[int, int],
    stored_grid: tuple[int, int] | None = None,
    *,
    offset: float = 0.0,
    antialias: bool = False,
    num_prefix: int = 1,
) -> Tensor:
    """Resize the position embedding of the patches; the class token keeps its own.

    Args:
        pos_embed: Embedding (1, P + h*w, C), the P prefix tokens first.
        grid: Wanted rows and columns of patches.
        stored_grid: Rows and columns (h, w) that `pos_embed` holds; a square if not given.
        offset: DINOv2's own code resizes by a *factor* of (rows + 0.1) / h; 0.1 reproduces its
            sampling positions, 0 resizes to the size itself as the published 16 px conversion does.
        antialias: Low-pass before shrinking, as DINOv2 does for its models with registers.
        num_prefix: Positions P that are no patches': 1, the class token's, or 0.

    Returns:
        Embedding (1, P + rows*columns, C).

    Raises:
        ValueError: The number of positions is no square and `stored_grid` does not say its sides.
    """
    tokens = pos_embed.shape[1] - num_prefix
    if stored_grid is None:
        side = math.isqrt(tokens)
        stored_grid = (side, side)
    if stored_grid[0] * stored_grid[1] != tokens:
        raise ValueError(
            f'position embedding of {tokens} patches does not form a {stored_grid} grid: '
            'pass stored_grid=(rows, columns)'
        )
    if stored_grid == grid:
        return pos_embed
    patches = pos_embed[:, num_prefix:].float().reshape(1, *stored_grid, -1).permute(0, 3, 1, 2)
    if offset:
        factors = [(new + offset) / old for new, old in zip(grid, stored_grid, strict=True)]
        patches = F.interpolate(
            patches, scale_factor=factors, mode='bicubic', antialias=antialias)
        patches = patches[..., : grid[0], : grid[1]]
    else:
        patches = F.interpolate(
            patches, size=grid, mode='bicubic', align_corners=False, antialias=antialias)
    patches = patches.flatten(2).transpose(1, 2).to(pos_embed.dtype)
    return torch.cat([pos_embed[:, :num_prefix], patches], dim=1)
