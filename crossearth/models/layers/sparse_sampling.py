# SPDX-License-Identifier: Apache-2.0
"""Deformable attention on the CPU: one product of a sparse matrix M with the table V of all pixels.

M has a row for each query and head, and in it an entry for each of the four corners of each sampled
point. With G the gradient of M V, that of V is M^T G, and that of an entry of M the product of two
rows, of G and of V. M itself is larger than all it is made of, and made again for the gradients.

The table's levels have borders of zeros, one pixel wide: a point outside needs no case of its own.
"""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ['SparseSampling']

Shapes = Sequence[tuple[int, int]]

# of what is used here, the results are tested
warnings.filterwarnings('ignore', 'Sparse CSR tensor support is in beta', UserWarning)


class SparseSampling(torch.autograd.Function):
    """`deformable_attention` of float32 or float64 on the CPU: its arguments, its result."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor
    ) -> Tensor:
        """Sample value (N, S, heads, D); see `deformable_attention`."""
        ctx.shapes = shapes
        ctx.save_for_backward(value, locations, weights)
        corners = _find_corners(locations, shapes)
        out = F.embedding_bag(
            _as_matrix(corners.rows), _bordered(value, shapes).flatten(0, 2), mode='sum',
            per_sample_weights=_as_matrix(corners.entries(weights)))
        return out.view(*locations.shape[:2], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Give the gradients of value, locations and weights."""
        value, locations, weights = ctx.saved_tensors
        table, corners = _bordered(value, ctx.shapes), _find_corners(locations, ctx.shapes)
        grad = grad.reshape(-1, value.shape[-1]).contiguous()
        size = (len(grad), table[..., 0].numel())
        columns = _as_matrix(corners.rows)
        starts = torch.arange(0, columns.numel() + 1, columns.shape[1], dtype=torch.int32)
        for_value = for_locations = for_weights = None
        if ctx.needs_input_grad[0]:
            # scipy's is the only quick product with a transposed sparse matrix: torch's own take
            # four times as long and more
            entries = corners.entries(weights).flatten()
            matrix = csr_array((entries.numpy(), columns.flatten().numpy(), starts.numpy()), size)
            product = torch.from_numpy(matrix.T @ grad.numpy()).view(table.shape)
            for_value = torch.cat([p.flatten(1, 2) for p in _inner(product, ctx.shapes)], 1)
        if ctx.needs_input_grad[2] or ctx.needs_input_grad[3]:
            pattern = torch.sparse_csr_tensor(
                starts, columns.flatten(), grad.new_zeros(columns.numel()), size,
                check_invariants=False)
            products = torch.sparse.sampled_addmm(pattern, grad, table.flatten(0, 2).T, beta=0)
            for_locations, for_weights = corners.gradients(products.values(), weights)
            for_locations *= _slopes(locations, ctx.shapes)
        return for_value, None, for_locations, for_weights


class _Corners(NamedTuple):
    """The four pixels around each point.

    Attributes:
        rows: (N, Q, heads, 2, 2, levels, points) int32, rows of the table: upper ones before lower,
            left before right.
        x: (N, Q, heads, levels, points), px from the left ones, in [0, 1].
        y: The same from the upper ones.
    """

    rows: Tensor
    x: Tensor
    y: Tensor

    def entries(self, weights: Tensor) -> Tensor:
        """Spread weights (N, Q, heads, levels, points) over the corners, in the shape of `rows`."""
        lower = self.y * weights
        upper = weights - lower
        lower_right, upper_right = lower * self.x, upper * self.x
        entries = (upper - upper_right, upper_right, lower - lower_right, lower_right)
        return torch.stack(entries, 3).view(self.rows.shape)

    def gradients(self, grad: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Make gradients of places, in px, and weights from those of `entries(weights)`."""
        left, right = grad.view(self.rows.shape).unbind(4)
        upper, lower = torch.lerp(left, right, self.x[:, :, :, None]).unbind(3)
        across = right - left
        along_x = torch.lerp(across[:, :, :, 0], across[:, :, :, 1], self.y)
        places = torch.stack((along_x * weights, (lower - upper) * weights), -1)
        return places, torch.lerp(upper, lower, self.y)


def _find_corners(locations: Tensor, shapes: Shapes) -> _Corners:
    """Find the corners of points at locations (N, Q, heads, levels, points, 2)."""
    size = _sizes(locations, shapes)
    places = _places(locations, size).clamp_(torch.zeros_like(size), size + 1)
    cells = places.floor().clamp_(max=size)
    places -= cells
    rows = _rows_of(cells.int(), shapes)
    return _Corners(rows, *places.unbind(-1))


def _places(locations: Tensor, size: Tensor) -> Tensor:
    """Places in px of the bordered level, whose first pixel has its centre at 0."""
    return torch.mul(locations, size).add_(0.5)


def _slopes(locations: Tensor, shapes: Shapes) -> Tensor:
    """Px that a place moves for a change of 1 in its location; none outside of the borders."""
    size = _sizes(locations, shapes)
    places = _places(locations, size)
    return ((places >= 0) & (places < size + 1)) * size


def _sizes(locations: Tensor, shapes: Shapes) -> Tensor:
    """Pairs (width, height) for each coordinate of a query.

    Repeated, since to broadcast along short axes takes twenty times as long.
    """
    _, _, heads, _, points, _ = locations.shape
    return locations.new_tensor([(w, h) for h, w in shapes])[:, None].repeat(heads, 1, points, 1)


def _rows_of(cells: Tensor, shapes: Shapes) -> Tensor:
    """Rows of the table for the four corners of cells (N, Q, heads, levels, points, 2)."""
    N, _, heads, _, points, _ = cells.shape
    areas = [(h + 2) * (w + 2) for h, w in shapes]
    width, first, last = cells.new_tensor([
        (w + 2, sum(areas[:i]), sum(areas[:i + 1]) - (w + 4)) for i, (_, w) in enumerate(shapes)
    ]).T[:, None, :, None].repeat(1, heads, 1, points)
    column, row = cells.unbind(-1)
    # a place that is not a number, or infinite, gets a cell too
    pixels = torch.mul(row, width).add_(column).add_(first).clamp_(first, last)
    head = torch.arange(heads, dtype=torch.int32).view(-1, 1, 1).expand_as(width)
    image = torch.arange(N, dtype=torch.int32).view(N, 1, 1, 1, 1) * (sum(areas) * heads)
    upper = pixels.mul_(heads).add_(image + head)
    lower = upper + width * heads
    corners = torch.stack((upper, upper + heads, lower, lower + heads), 3)
    return corners.view(*upper.shape[:3], 2, 2, *upper.shape[3:])


def _as_matrix(entries: Tensor) -> Tensor:
    """Entries (N, Q, heads, ...) with a row for each query and head."""
    return entries.flatten(3).flatten(0, 2)


def _bordered(value: Tensor, shapes: Shapes) -> Tensor:
    """Make the table (N, rows, heads, D) of value (N, S, heads, D)."""
    rows = sum((h + 2) * (w + 2) for h, w in shapes)
    table = value.new_zeros(value.shape[0], rows, *value.shape[2:])
    levels = torch.split(value, [h * w for h, w in shapes], 1)
    for inner, level in zip(_inner(table, shapes), levels, strict=True):
        inner.copy_(level.view_as(inner))
    return table


def _inner(table: Tensor, shapes: Shapes) -> list[Tensor]:
    """Views (N, h, w, heads, D) of a table's levels without their borders."""
    levels = torch.split(table, [(h + 2) * (w + 2) for h, w in shapes], 1)
    return [torch.unflatten(level, 1, (h + 2, w + 2))[:, 1:-1, 1:-1]
            for level, (h, w) in zip(levels, shapes, strict=True)]
