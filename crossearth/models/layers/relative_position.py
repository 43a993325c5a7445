# SPDX-License-Identifier: Apache-2.0
"""Relative positions that an attention adds to its scores: decomposed ones, and a table of biases.

Decomposed: Li et al., MViTv2, 2022, section 4.1: the query asks vectors of the row distance and of
the column distance. Table: Liu et al., Swin Transformer, 2021, Eq. 4.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['decomposed_bias', 'relative_index', 'resize_distances']


def decomposed_bias(
    query: Tensor, rows: Tensor, columns: Tensor, grid: tuple[int, int]
) -> Tensor:
    """Biases q_i . R_row[y_i - y_j] + q_i . R_column[x_i - x_j].

    Args:
        query: Queries (..., h * w, D) of a grid, row by row.
        rows: Vectors (2 h - 1, D) of the row distances 1 - h ... h - 1.
        columns: Vectors (2 w - 1, D) of the column distances.
        grid: (h, w).

    Returns:
        Biases (..., h * w, h * w) of query i and key j.
    """
    h, w = grid
    query = query.reshape(*query.shape[:-2], *grid, query.shape[-1])
    by_row = torch.einsum('...yxd,ykd->...yxk', query, rows[_distances(h, rows.device)])
    by_column = torch.einsum('...yxd,xkd->...yxk', query, columns[_distances(w, rows.device)])
    bias = by_row[..., :, None] + by_column[..., None, :]
    return bias.flatten(-2).flatten(-3, -2)


def resize_distances(table: Tensor, length: int) -> Tensor:
    """Resize vectors of distances to a side of `length`, bicubically as MTP does.

    Args:
        table: Vectors (2 n - 1, D) of distances along a side of n.
        length: New side m.

    Returns:
        Vectors (2 m - 1, D).
    """
    size = (2 * length - 1, table.shape[1])
    if table.shape[0] == size[0]:
        return table
    resized = F.interpolate(table.float()[None, None], size, mode='bicubic', align_corners=False)
    return resized[0, 0].to(table.dtype)


def relative_index(window: int) -> Tensor:
    """Row of a table of (2 w - 1)^2 biases for every pair of pixels of a window.

    Args:
        window: Side w of a window in px.

    Returns:
        Indices (w * w, w * w) of query i and key j: 2 w - 1 for a row's distance, 1 for a column's.
    """
    by_row = _distances(window)[:, None, :, None]
    by_column = _distances(window)[None, :, None, :]
    return ((2 * window - 1) * by_row + by_column).reshape(window**2, window**2)


def _distances(side: int, device: torch.device | None = None) -> Tensor:
    """Indices (side, side) of the distances i - j, the smallest of which is 0."""
    places = torch.arange(side, device=device)
    return places[:, None] - places[None, :] + side - 1
