# SPDX-License-Identifier: Apache-2.0
"""The sampler's sequence, and random numbers that belong to a sample."""

import contextlib
import itertools
import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossearth.datasets.positions import Position, sample_randomness
from crossearth.engine import sampler as sampler_module
from crossearth.engine.sampler import InfiniteSampler
from crossearth.errors import DataError
from crossearth.registry import DATA_SAMPLERS, SCOPE


def take(count, size=7, seed=1, start=0, rank=0, world=1, **options):
    sampler = InfiniteSampler(range(size), seed=seed, **options)
    sampler.start, sampler.rank, sampler.world_size = start, rank, world
    return list(itertools.islice(sampler, count))


def test_it_takes_the_place_of_mmengines():
    with DATA_SAMPLERS.switch_scope_and_registry(SCOPE) as registry:
        assert registry.get('InfiniteSampler') is InfiniteSampler


def test_each_epoch_is_another_permutation():
    indices = take(21)
    epochs = [indices[0:7], indices[7:14], indices[14:21]]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert take(7, seed=2) != epochs[0]
    assert take(9, shuffle=False) == [0, 1, 2, 3, 4, 5, 6, 0, 1]


@given(size=st.integers(1, 20), start=st.integers(0, 60), count=st.integers(1, 40),
       world=st.integers(1, 4))
def test_ranks_share_one_sequence_that_can_start_anywhere(size, start, count, world):
    whole = take(start + count * world, size)
    ranks = [take(count, size, start=start, rank=rank, world=world) for rank in range(world)]
    interleaved = [index for group in zip(*ranks, strict=True) for index in group]
    assert interleaved == whole[start:]
    assert [p.position for p in interleaved] == list(range(start, start + count * world))


def test_starting_far_ahead_makes_one_permutation(monkeypatch):
    calls = []
    permutation = InfiniteSampler._permutation
    monkeypatch.setattr(InfiniteSampler, '_permutation',
                        lambda self, epoch: calls.append(epoch) or permutation(self, epoch))
    take(3, start=7 * 10**9)
    assert calls == [10**9]


def test_seed_none_is_drawn_once_for_all_ranks(monkeypatch):
    monkeypatch.setattr(sampler_module, 'sync_random_seed', lambda: 1)
    assert InfiniteSampler(range(3)).seed == 1


def test_state_moves_to_another_sampler():
    first = InfiniteSampler(range(7), seed=5)
    other = InfiniteSampler(range(7), seed=9)
    other.load_state_dict(first.state_dict(10))
    assert list(itertools.islice(other, 5)) == take(15, seed=5)[10:]
    assert len(other) == 7


def test_no_samples():
    with pytest.raises(DataError, match='holds no sample'):
        InfiniteSampler([])


def test_position_survives_the_way_to_a_worker():
    position = pickle.loads(pickle.dumps(Position(4, 2, 9)))
    assert (position, position.seed, position.position) == (4, 2, 9)
    assert isinstance(position, Position)
    assert [10, 20, 30, 40, 50][position] == 50


def draw():
    return random.random(), np.random.rand(), torch.rand(1).item()


def draw_for(index):
    with sample_randomness(index):
        return draw()


def test_random_numbers_of_a_sample():
    assert draw_for(Position(4, 2, 9)) == draw_for(Position(4, 2, 9))
    drawn = [draw_for(Position(4, seed, position))
             for seed, position in ((2, 9), (2, 10), (3, 9))]
    for values in zip(*drawn, strict=True):
        assert len(set(values)) == 3


def test_random_numbers_outside_of_a_sample_go_on():
    for seeding in (random.seed, np.random.seed, torch.manual_seed):
        seeding(1)
    expected = draw()
    for seeding in (random.seed, np.random.seed, torch.manual_seed):
        seeding(1)
    with contextlib.suppress(ZeroDivisionError), sample_randomness(Position(0, 1, 1)):
        draw()
        raise ZeroDivisionError  # as on a broken image
    assert draw() == expected


def test_a_plain_index_leaves_them_alone():
    torch.manual_seed(1)
    expected = torch.rand(2).tolist()
    torch.manual_seed(1)
    assert [draw_for(3)[2], torch.rand(1).item()] == expected
