# SPDX-License-Identifier: Apache-2.0
"""Rotated varied-size windows against loops in NumPy, and against plain window attention."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from crossearth.models.layers.rotated_window_attention import (
    RotatedWindowAttention,
    sample_windows,
    window_places,
)

WINDOW = 7


def places(rows=1, columns=1, offset=(0.0, 0.0), scale=(0.0, 0.0), angle=0.0):
    def full(values):
        return torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1).expand(
            1, -1, rows, columns)

    return window_places(WINDOW, full(offset), full(scale), full([angle])[:, 0])


def bilinear(image, x, y):
    """One value of an image (H, W), which is zero outside."""
    total = 0.0
    for row, column in product((math.floor(y), math.floor(y) + 1),
                               (math.floor(x), math.floor(x) + 1)):
        if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
            total += image[row, column] * (1 - abs(x - column)) * (1 - abs(y - row))
    return total


def plain_window_attention(module, x, grid):
    """Attention within windows of a grid padded by zeros, one window and head after the other."""
    h, w = grid
    heads, width = module.num_heads, x.shape[-1] // module.num_heads
    height, length = -(-h // WINDOW) * WINDOW, -(-w // WINDOW) * WINDOW
    top, left = (height - h) // 2, (length - w) // 2
    padded = torch.zeros(len(x), height, length, 3, heads, width)
    padded[:, top : top + h, left : left + w] = module.qkv(x).view(len(x), h, w, 3, heads, width)
    out = torch.zeros(len(x), height, length, heads, width)
    for row, column, head in product(
            range(0, height, WINDOW), range(0, length, WINDOW), range(heads)):
        cell = (slice(None), slice(row, row + WINDOW), slice(column, column + WINDOW))
        q, k, v = padded[cell][..., head, :].flatten(1, 2).unbind(2)
        mixed = (q @ k.mT / math.sqrt(width)).softmax(-1) @ v
        out[(*cell, head)] = mixed.unflatten(1, (WINDOW, WINDOW))
    out = out[:, top : top + h, left : left + w]
    return module.proj(out.reshape(len(x), h * w, -1))


def test_places_of_an_untouched_window_are_its_pixels():
    expected = [(column, row) for row in range(WINDOW) for column in range(WINDOW)]
    found = places(rows=2, columns=3)[0]
    assert found[0].tolist() == [list(map(float, pair)) for pair in expected]
    torch.testing.assert_close(found[4], found[0] + found.new_tensor([7, 7]))  # row 1, column 1
    torch.testing.assert_close(found[2], found[0] + found.new_tensor([14, 0]))


def test_a_quarter_turn_and_the_order_of_scale_and_turn():
    # the pixel right of the centre goes below it, at the distance that its own side was scaled by
    turned = places(scale=(1.0, 0.0), angle=math.pi / 2, offset=(0.5, -2.0))[0].view(7, 7, 2)
    torch.testing.assert_close(turned[3, 4], turned.new_tensor([3 + 0.5, 3 + 2 - 2.0]))
    torch.testing.assert_close(turned[4, 3], turned.new_tensor([3 - 1 + 0.5, 3 - 2.0]))


@pytest.mark.parametrize(('scale', 'angle'), [((0.0, 0.0), 0.0), ((0.4, -0.3), 0.7)])
def test_samples_equal_a_bilinear_sampler_in_numpy(scale, angle):
    image = np.random.default_rng(0).normal(size=(7, 14))
    where = places(1, 2, offset=(1.3, -0.6), scale=scale, angle=angle)
    sampled = sample_windows(torch.from_numpy(image)[None, None], where)[0, ..., 0]
    for window, pixel in product(range(2), range(49)):
        row, column = divmod(pixel, 7)
        x, y = (column - 3) * (1 + scale[0]), (row - 3) * (1 + scale[1])
        turned = (x * math.cos(angle) - y * math.sin(angle),
                  x * math.sin(angle) + y * math.cos(angle))
        expected = bilinear(image, 7 * window + 3 + turned[0] + 1.3, 3 + turned[1] - 0.6)
        assert sampled[window, pixel].item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize('grid', [(7, 7), (8, 8), (5, 16)])
def test_untouched_windows_are_plain_window_attention(grid):
    module = RotatedWindowAttention(8, 2)
    x = torch.randn(2, grid[0] * grid[1], 8)
    torch.testing.assert_close(
        module(x, grid), plain_window_attention(module, x, grid), atol=1e-5, rtol=1e-4)


def test_heads_choose_their_own_windows():
    module = RotatedWindowAttention(8, 2)
    x = torch.randn(1, 14 * 14, 8)
    torch.nn.init.eye_(module.proj.weight)
    torch.nn.init.zeros_(module.proj.bias)
    before = module(x, (14, 14))
    with torch.no_grad():
        module.sampling_offsets[2].bias[2] = 0.3  # x of the second head
    change = (module(x, (14, 14)) - before).abs().amax((0, 1))
    assert change[:4].max() == 0
    assert change[4:].min() > 0


def test_an_offset_of_one_is_half_the_padded_side_over_the_whole_windows():
    module = RotatedWindowAttention(8, 1)
    with torch.no_grad():
        module.sampling_offsets[2].bias[:] = torch.tensor([1.0, 0.0])
    found = module._places(torch.zeros(1, 8, 15, 16))  # padded to 21 x 21, two whole windows
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([10 / 2, 0.0]))


def test_what_is_predicted_moves_scales_and_turns_each_head():
    module = RotatedWindowAttention(8, 2).double()
    given = {'offsets': [[1.0, -0.5], [0.0, 2.0]], 'scales': [[0.3, -0.2], [0.0, 0.5]],
             'angles': [[0.4], [-0.9]]}
    with torch.no_grad():
        for name, heads in given.items():
            getattr(module, f'sampling_{name}')[2].bias[:] = torch.tensor(heads).flatten()
    found = module._places(torch.zeros(1, 8, 7, 14, dtype=torch.float64))
    for head, (offset, scale, (angle,)) in enumerate(zip(*given.values(), strict=True)):
        shift = (offset[0] * 13 / 2 / 2, offset[1] * 6 / 2)  # half a side over the windows
        torch.testing.assert_close(found[head], places(1, 2, shift, scale, angle)[0])


def test_relative_positions_inside_windows_are_decomposed_and_from_a_table():
    module = RotatedWindowAttention(8, 2).double()
    for name in ('rel_pos_h', 'rel_pos_w', 'relative_position_bias_table'):
        nn.init.normal_(getattr(module, name))
    query = torch.randn(4, 1, 49, 4, dtype=torch.float64)  # two images, two heads
    bias = module._bias(query)
    for i, j in [(0, 0), (3, 40), (48, 5)]:
        row, column = i // 7 - j // 7 + 6, i % 7 - j % 7 + 6
        for n in range(4):
            expected = query[n, 0, i] @ (module.rel_pos_h[row] + module.rel_pos_w[column])
            expected = expected + module.relative_position_bias_table[13 * row + column, n % 2]
            torch.testing.assert_close(bias[n, 0, i, j], expected)


def test_gradients_reach_all_parameters():
    module = RotatedWindowAttention(8, 2)
    module(torch.randn(2, 100, 8), (10, 10)).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_places_stay_exact_in_mixed_precision():
    module = RotatedWindowAttention(8, 2)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert module._places(torch.randn(1, 8, 70, 70)).dtype == torch.float32
        out = module(torch.randn(1, 64, 8), (8, 8))
    assert out.dtype == torch.bfloat16
