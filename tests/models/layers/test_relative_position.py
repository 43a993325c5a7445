# SPDX-License-Identifier: Apache-2.0
"""Relative positions against loops over all pairs of pixels."""

from itertools import product

import torch
import torch.nn.functional as F

from crossearth.models.layers.relative_position import (
    decomposed_bias,
    relative_index,
    resize_distances,
)


def test_decomposed_bias_equals_the_double_loop():
    h, w = 3, 5
    query = torch.randn(2, h * w, 4, dtype=torch.float64)
    rows, columns = (torch.randn(2 * side - 1, 4, dtype=torch.float64) for side in (h, w))
    bias = decomposed_bias(query, rows, columns, (h, w))
    pixels = list(product(range(h), range(w)))
    for (i, (y, x)), (j, (v, u)) in product(enumerate(pixels), repeat=2):
        expected = query[:, i] @ rows[y - v + h - 1] + query[:, i] @ columns[x - u + w - 1]
        torch.testing.assert_close(bias[:, i, j], expected)


def test_the_table_has_one_row_for_each_distance():
    index = relative_index(3)
    pixels = list(product(range(3), repeat=2))
    for (i, (y, x)), (j, (v, u)) in product(enumerate(pixels), repeat=2):
        assert index[i, j] == (y - v + 2) * 5 + x - u + 2
    assert index.unique().tolist() == list(range(25))


def test_distances_are_resized_along_the_side_only():
    table = torch.randn(9, 4)
    assert resize_distances(table, 5) is table
    resized = resize_distances(table, 8)
    assert resized.shape == (15, 4)
    alone = F.interpolate(table[:, 2].view(1, 1, 9, 1), (15, 1), mode='bicubic').flatten()
    torch.testing.assert_close(resized[:, 2], alone)
