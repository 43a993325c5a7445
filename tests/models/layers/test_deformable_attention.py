# SPDX-License-Identifier: Apache-2.0
"""Deformable attention against loops, its two forms against each other, its first values."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from crossearth.models.layers import deformable_attention as module
from crossearth.models.layers.deformable_attention import (
    MultiScaleDeformableAttention,
    deformable_attention,
    pixel_centres,
)

SHAPES = [(1, 2), (3, 2), (4, 5)]
N, Q, HEADS, POINTS, D = 2, 3, 2, 2, 4


def bilinear(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """Value of (H, W, D) at a place in px, where pixel (i, j) has its centre at (j + .5, i +
    .5)."""
    total = np.zeros(image.shape[-1])
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            overlap = max(0, 1 - abs(x - j - 0.5)) * max(0, 1 - abs(y - i - 0.5))
            total += overlap * image[i, j]
    return total


def by_loops(value: np.ndarray, locations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    out = np.zeros((N, Q, HEADS, D))
    for n, q, head, level, point in np.ndindex(N, Q, HEADS, len(SHAPES), POINTS):
        h, w = SHAPES[level]
        start = sum(a * b for a, b in SHAPES[:level])
        image = value[n, start:start + h * w, head].reshape(h, w, D)
        x, y = locations[n, q, head, level, point]
        out[n, q, head] += weights[n, q, head, level, point] * bilinear(image, x * w, y * h)
    return out.reshape(N, Q, HEADS * D)


def random_inputs() -> tuple[Tensor, Tensor, Tensor]:
    pixels = sum(h * w for h, w in SHAPES)
    value = torch.randn(N, pixels, HEADS, D, dtype=torch.float64)
    # Some places lie outside of the map, where it is zero.
    locations = 1.6 * torch.rand(N, Q, HEADS, len(SHAPES), POINTS, 2, dtype=torch.float64) - 0.3
    weights = torch.rand(N, Q, HEADS, len(SHAPES), POINTS, dtype=torch.float64)
    return value, locations, weights


@pytest.mark.parametrize('form', [deformable_attention, module._sample_levels])
def test_equals_loops_over_everything(form: Any) -> None:
    value, locations, weights = random_inputs()
    found = form(value, SHAPES, locations, weights)
    expected = by_loops(value.numpy(), locations.numpy(), weights.numpy())
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


# sides whose pixel centres, borders and corners are exact numbers, on which the slope of bilinear
# interpolation is that to the right; and 1 x 1
PLACES = [-9.0, -0.5, -0.125, -0.0625, 0.0, 0.125, 0.5, 0.875, 1.0, 1.0625, 1.125, 1.5, 2.0, 9.0]


@pytest.mark.parametrize('shapes', [[(4, 8)], [(1, 1), (8, 4)], [(8, 2), (1, 4), (1, 1)]])
@pytest.mark.parametrize('exact', [True, False])
def test_both_forms_agree_to_the_last_digits(
    shapes: list[tuple[int, int]], exact: bool
) -> None:
    levels = len(shapes)
    value = torch.randn(N, sum(h * w for h, w in shapes), HEADS, D, dtype=torch.float64)
    if exact:
        places = torch.tensor(PLACES, dtype=torch.float64)
        locations = torch.cartesian_prod(places, places).view(1, -1, 1, 1, 1, 2)
        locations = locations.expand(N, -1, HEADS, levels, POINTS, 2)
    else:
        locations = 3 * torch.rand(N, 50, HEADS, levels, POINTS, 2, dtype=torch.float64) - 1
    weights = torch.randn(locations.shape[:-1], dtype=torch.float64)
    out_gradient = torch.randn(N, locations.shape[1], HEADS * D, dtype=torch.float64)
    results = []
    for form in (deformable_attention, module._sample_levels):
        leaves = [x.clone().requires_grad_() for x in (value, locations, weights)]
        out = form(leaves[0], shapes, *leaves[1:])
        results.append([out, *torch.autograd.grad(out, leaves, out_gradient)])
    torch.testing.assert_close(*results, rtol=0, atol=1e-10)


@pytest.mark.parametrize('needed', [0, 1, 2])
def test_only_the_gradients_that_are_needed(needed: int) -> None:
    inputs = list(random_inputs())
    inputs[needed].requires_grad_()
    value, locations, weights = inputs
    deformable_attention(value, SHAPES, locations, weights).sum().backward()
    assert [x.grad is not None for x in inputs] == [i == needed for i in range(3)]


def test_what_is_not_a_number_spoils_its_own_query_only() -> None:
    # one head: times an even number the cell of such a place may overflow to one that exists
    value, locations, weights = (x[:, :, :1] for x in random_inputs())
    expected = deformable_attention(value, SHAPES, locations, weights)
    locations = locations.clone()
    locations[0, 1, 0, 2, 0, 0] = torch.nan
    locations[1, 2, 0, 0, 1] = torch.inf
    found = deformable_attention(value, SHAPES, locations, weights)
    assert found[0, 1].isnan().all()
    found[0, 1], found[1, 2] = expected[0, 1], expected[1, 2]
    torch.testing.assert_close(found, expected)


def test_programs_sample_by_grid_sample() -> None:
    attention = MultiScaleDeformableAttention(8, num_heads=2, num_levels=3, num_points=2).eval()
    shapes, pixels = [(1, 2), (3, 2), (4, 5)], pixel_centres(SHAPES)
    query = torch.randn(2, len(pixels), 8)

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = attention

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, pixels, shapes)

    program = torch.export.export(Whole(), (query,))
    assert sum('grid_sampler' in str(node.target) for node in program.graph.nodes) == 3
    with torch.no_grad():
        torch.testing.assert_close(program.module()(query), Whole()(query))
        traced = torch.jit.trace(Whole(), (query,))
        torch.testing.assert_close(traced(2 * query), Whole()(2 * query))


def test_gradients_equal_finite_differences() -> None:
    inputs = [x.requires_grad_() for x in random_inputs()]
    assert torch.autograd.gradcheck(
        lambda value, locations, weights: deformable_attention(value, SHAPES, locations, weights),
        inputs)


def test_pixel_centres_run_along_rows() -> None:
    assert pixel_centres([(1, 2), (2, 1)]).tolist() == [
        [0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75]]


def test_heads_start_on_rays_at_whole_pixels() -> None:
    attention = MultiScaleDeformableAttention(32, num_heads=8, num_levels=3, num_points=4)
    offsets = attention.sampling_offsets.bias.view(8, 3, 4, 2).detach()
    for head, (level, point) in zip(range(8), [(0, 0), (1, 1), (2, 2), (0, 3)] * 2, strict=True):
        x, y = offsets[head, level, point].tolist()
        assert max(abs(x), abs(y)) == pytest.approx(point + 1, abs=1e-5)
        assert math.atan2(y, x) % (2 * math.pi) == pytest.approx(head * math.pi / 4, abs=1e-5)


def test_without_training_it_averages_the_points() -> None:
    attention = MultiScaleDeformableAttention(8, num_heads=2, num_levels=1, num_points=1)
    for projection in (attention.value_proj, attention.output_proj):
        torch.nn.init.eye_(projection.weight)
    value = torch.randn(1, 3, 8)
    out = attention(torch.randn(1, 3, 8), value, pixel_centres([(1, 3)]), [(1, 3)])
    # Head 0 looks one px to the right, head 1 one px to the left.
    torch.testing.assert_close(out[0, :2, :4], value[0, 1:, :4])
    torch.testing.assert_close(out[0, 1:, 4:], value[0, :2, 4:])
    assert out[0, 2, :4].abs().max() < 1e-5
    assert out[0, 0, 4:].abs().max() < 1e-5


def test_refuses_channels_that_cannot_be_split() -> None:
    with pytest.raises(ValueError, match=r'channels \(10\) must be a multiple of num_heads \(4\)'):
        MultiScaleDeformableAttention(10, num_heads=4)
