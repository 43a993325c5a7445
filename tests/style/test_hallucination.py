# SPDX-License-Identifier: Apache-2.0
"""Hallucinated styles: statistics against NumPy, the choice of the basis, resuming, ranks."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from crossearth.style.hallucination import (
    StyleHallucination,
    dist,
    farthest_points,
    js_divergence,
    style_of,
)


def features(batch=2, channels=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    scale = torch.rand(batch, channels, 1, 1, generator=g) + 0.5
    return torch.randn(batch, channels, 6, 7, generator=g) * scale + scale


def warmed_up(styles=3, channels=5, **options):
    """A module that has seen enough styles, and begun the next iteration."""
    module = StyleHallucination(channels, styles=styles, **options).train()
    for seed in range(2):
        assert not module.begin()
        module(features(seed=seed))
    assert module.begin()
    return module


def test_nothing_happens_until_enough_styles_are_known():
    module = StyleHallucination(5, styles=3).train()
    assert [(module.begin(), len(module(features(seed=seed)))) for seed in range(4)] == [
        (False, 2), (False, 2), (True, 4), (True, 4)]


def test_new_styles_are_convex_combinations_of_the_basis_and_contents_stay():
    module = warmed_up()
    x = features(seed=9)
    both = module(x).numpy()
    assert np.array_equal(both[:2], x.numpy())
    basis = module.base.numpy().reshape(3, -1)
    for old, new in zip(both[:2], both[2:], strict=True):
        style = np.concatenate([new.mean(axis=(1, 2)), new.std(axis=(1, 2))])
        weights = np.linalg.lstsq(
            np.vstack([basis.T, np.ones(3)]), np.append(style, 1), rcond=None)[0]
        np.testing.assert_allclose(weights @ basis, style, atol=1e-4)
        assert (weights > -1e-4).all()
        normal = [(m - m.mean((1, 2), keepdims=True)) / m.std((1, 2), keepdims=True)
                  for m in (old, new)]
        np.testing.assert_allclose(*normal, atol=1e-4)


def test_style_of_constant_channels_is_finite():
    x = torch.ones(1, 2, 3, 3, requires_grad=True)
    style = style_of(x)
    assert style[0, 0].tolist() == [1, 1]
    style.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_weights_of_a_combination_follow_the_dirichlet_distribution():
    module = warmed_up(styles=4)
    module.base.copy_(torch.eye(4)[:, None, [0, 1, 2, 3, 0]].expand(4, 2, 5))
    drawn = module._mix(4000)[:, 0, :4].double()
    torch.testing.assert_close(drawn.sum(1), torch.ones(4000).double())
    assert (drawn.mean(0) - 1 / 4).abs().max() < 0.02
    # variance of a weight: a (a0 - a) / (a0^2 (a0 + 1)) with a = 1/4, a0 = 1
    assert (drawn.var(0) - 3 / 32).abs().max() < 0.01


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(2, 12), st.data())
def test_each_point_is_the_farthest_from_those_before(seed, number, data):
    points = torch.randn(number, 3, generator=torch.Generator().manual_seed(seed))
    chosen = farthest_points(points, data.draw(st.integers(1, number))).tolist()
    assert len(set(chosen)) == len(chosen)
    for index in range(1, len(chosen)):
        gaps = [min(math.dist(p, points[c]) for c in chosen[:index]) for p in points]
        assert gaps[chosen[index]] == pytest.approx(max(gaps), rel=1e-5)


def test_the_basis_is_chosen_anew_among_the_last_styles():
    module = StyleHallucination(5, styles=2, interval=3, memory=4).train()
    bases = []
    for seed in range(8):
        module.begin()
        module(features(seed=seed))
        bases.append(module.base.clone())
    changed = [not torch.equal(a, b) for a, b in itertools.pairwise(bases)]
    assert changed == [True, False, False, True, False, False, True]
    last = torch.cat([style_of(features(seed=seed)) for seed in (5, 6)])  # seen before the 8th
    for style in bases[-1]:
        assert (last - style).abs().flatten(1).max(1).values.min() < 1e-6


def test_a_resumed_training_draws_what_an_uninterrupted_one_would():
    first = warmed_up()
    first(features())
    second = StyleHallucination(5, styles=3).train()
    second.load_state_dict(first.state_dict())
    torch.rand(3)
    assert first.begin() == second.begin() is True
    assert torch.equal(first(features(seed=4)), second(features(seed=4)))


def test_all_ranks_know_the_styles_of_all(monkeypatch):
    other = style_of(features(seed=7))
    monkeypatch.setattr(dist, 'all_gather', lambda styles: [styles, other])
    module = StyleHallucination(5, styles=4).train()
    module.begin()
    module(features())
    assert module.seen == 4
    torch.testing.assert_close(module.memory[2:4], other)
    assert module.begin()


def test_no_change_at_test():
    module = warmed_up().eval()
    x = features()
    assert module(x) is x
    assert module.seen == 4


def test_it_acts_as_a_hook():
    module, layer = warmed_up(), nn.Conv2d(3, 5, 1)
    layer.register_forward_hook(module.hook)
    assert layer(torch.randn(2, 3, 8, 8)).shape == (4, 5, 8, 8)


def test_divergence_of_two_predictions():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 2, 4, 3, 5)) * 3
    p, q = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (a, b))
    m = (p + q) / 2
    expected = ((p * np.log(p / m) + q * np.log(q / m)).sum(axis=1) / 2).mean()
    assert js_divergence(*map(torch.from_numpy, (a, b))).item() == pytest.approx(expected, rel=1e-5)
    far = torch.tensor([[1e4, 0.0], [0.0, 1e4]])[..., None, None]
    assert js_divergence(far[:1], far[1:]).item() == pytest.approx(math.log(2))
    module = StyleHallucination(5, weight=3)
    assert module.consistency(torch.from_numpy(np.concatenate([a, b]))).item() == pytest.approx(
        3 * expected, rel=1e-5)
