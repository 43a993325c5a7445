# SPDX-License-Identifier: Apache-2.0
"""Laws of Earth-Style Injection: shares, distributions, and what is the same on all ranks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import multiprocessing

from crossearth.style.draws import IterationDraws
from crossearth.style.injection import StyleInjection
from crossearth.style.masks import BlockMaskGenerator
from crossearth.style.moments import RunningMoments
from crossearth.style.statistics import StyleStatistics

KINDS = ('reinhard_lab', 'fourier_amplitude')  # those that need no weights

sizes = st.integers(8, 40)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([0, 1]), st.integers(1, 50), sizes, sizes, st.integers(0, 3))
def test_ratios_zero_and_one_are_exact(ratio, block, height, width, batch):
    mask = BlockMaskGenerator(ratio, block)(batch, (height, width))
    assert mask.shape == (batch, 1, height, width)
    assert (mask == 1 - ratio).all()


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.integers(1, 4), st.integers(0, 2**32))
def test_mean_of_the_mask_tends_to_one_minus_ratio(ratio, block, seed):
    number = 10_000
    side = 100 * block
    mask = BlockMaskGenerator(ratio, block)(
        1, (side, side), generator=torch.Generator().manual_seed(seed))
    deviation = (ratio * (1 - ratio) / number) ** 0.5
    assert abs(float(mask.mean()) - (1 - ratio)) <= 6 * deviation + 1e-6


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(KINDS), st.integers(1, 3), sizes, sizes, st.integers(1, 20))
def test_tau_zero_gives_the_image(kind, batch, height, width, block):
    x = torch.randn(batch, 3, height, width)
    styled, keep = StyleInjection(kind, mask_ratio=0, block=block)(x)
    assert torch.equal(styled, x)
    assert keep.all()


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(KINDS), st.floats(0, 1), st.integers(1, 20), sizes, sizes,
       st.sampled_from(['tau', 'eq5']))
def test_what_the_mask_keeps_is_the_image(kind, ratio, block, height, width, convention):
    x = torch.randn(2, 3, height, width)
    style = StyleInjection(kind, ratio, block, alpha=1, mask_convention=convention)
    styled, keep = style(x)
    kept = keep.expand_as(x) == 1
    assert torch.equal(styled[kept], x[kept])
    assert styled.isfinite().all()


def test_samples_match_mean_and_covariance_within_two_percent():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(100, 100)) * np.linspace(0.05, 2, 100)
    covariance = torch.from_numpy(root @ root.T)
    mean = torch.from_numpy(rng.normal(0, 5, 100))
    statistics = StyleStatistics(mean, covariance, 1000, '', '', '', ())
    samples = RunningMoments(100)
    samples.update(statistics.sample(100_000, torch.Generator().manual_seed(0)))
    deviations = covariance.diagonal().sqrt()
    assert ((samples.mean - mean).abs() <= 0.02 * deviations).all()
    errors = (samples.covariance() - covariance).abs()
    assert (errors <= 0.02 * torch.outer(deviations, deviations)).all()


# ------------------------------------------------------------------------- one draw, all ranks

def drawn(style, number):
    return [style.draw() for _ in range(number)]


def test_a_tenth_of_the_iterations_is_styled():
    share = np.mean(drawn(StyleInjection('reinhard_lab', seed=0), 2000))
    assert abs(share - 0.1) < 3 * (0.1 * 0.9 / 2000) ** 0.5


@pytest.mark.parametrize(('probability', 'share'), [(0, 0), (1, 1)])
def test_never_and_always(probability, share):
    style = StyleInjection('reinhard_lab', probability=probability)
    assert np.mean(drawn(style, 200)) == share


def test_the_sequence_goes_on_after_a_resume_whatever_else_was_random():
    style = StyleInjection('reinhard_lab', probability=0.5)
    x = torch.rand(1, 3, 16, 16)
    drawn(style, 7)
    checkpoint = {key: value.clone() for key, value in style.state_dict().items()}
    expected = drawn(style, 50), style(x)[0]
    torch.manual_seed(99)
    resumed = StyleInjection('reinhard_lab', probability=0.5)
    resumed.load_state_dict(checkpoint)
    assert drawn(resumed, 50) == expected[0]
    assert torch.equal(resumed(x)[0], expected[1])


def test_seeds_differ():
    sequences = {tuple(drawn(StyleInjection('reinhard_lab', probability=0.5, seed=seed), 64))
                 for seed in range(8)}
    assert len(sequences) == 8


def _rank(rank, address, results):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{address}', rank=rank, world_size=2)
    torch.manual_seed(rank)  # as with mmengine's diff_rank_seed
    draws = IterationDraws()
    shared = [draws.advance() for _ in range(2000)]
    own = torch.rand(4, generator=draws.generator)
    torch.save((shared, own), f'{results}/{rank}.pt')
    torch.distributed.destroy_process_group()


def test_two_ranks_draw_the_same_and_style_differently(tmp_path):
    # fork: a fresh process would first import everything again
    multiprocessing.start_processes(
        _rank, (tmp_path / 'meeting', tmp_path), nprocs=2, start_method='fork')
    (first, own), (second, other) = (torch.load(tmp_path / f'{rank}.pt') for rank in range(2))
    assert first == second
    assert len(set(first)) == 2000
    assert not torch.equal(own, other)
