# SPDX-License-Identifier: Apache-2.0
"""Rare-class sampling: its law, its counts and their cache, its sequence."""

import itertools

import numpy as np
import pytest
from PIL import Image

from crossearth.datasets import DomainSegDataset
from crossearth.engine import rare_classes
from crossearth.engine.rare_classes import RareClassSampler, class_pixels, class_probabilities
from crossearth.errors import ConfigError, DataError
from crossearth.registry import DATA_SAMPLERS, SCOPE

# rows of class 1, 2 and ignored pixels in labels of 10 x 10; the rest is class 0
ROWS = [(0, 0, 0), (5, 0, 0), (4, 0, 1), (0, 3, 0), (0, 0, 0), (1, 0, 2)]
PIXELS = np.array([[100 - 10 * sum(rows), 10 * rows[0], 10 * rows[1]] for rows in ROWS])


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    folder = tmp_path / 'data' / 'train' / 'dry'
    for kind in ('images', 'labels'):
        (folder / kind).mkdir(parents=True)
    for index, counts in enumerate(ROWS):
        rows = np.repeat([1, 2, 255, 0], [*counts, 10 - sum(counts)])
        label = np.repeat(rows[:, None], 10, axis=1).astype(np.uint8)
        Image.fromarray(label).save(folder / 'labels' / f'{index}.png')
        Image.fromarray(np.zeros((10, 10, 3), np.uint8)).save(folder / 'images' / f'{index}.png')
    return DomainSegDataset(
        str(tmp_path / 'data'), 'dry', metainfo={'classes': ('a', 'b', 'c')})


def take(sampler, count, start=0, rank=0, world=1):
    sampler.start, sampler.rank, sampler.world_size = start, rank, world
    return list(itertools.islice(sampler, count))


def test_configs_find_it():
    with DATA_SAMPLERS.switch_scope_and_registry(SCOPE) as registry:
        assert registry.get('RareClassSampler') is RareClassSampler


def test_pixels_are_counted_once(dataset, monkeypatch, tmp_path):
    assert class_pixels(dataset).tolist() == PIXELS.tolist()
    monkeypatch.setattr(rare_classes, 'LoadLabel', lambda: pytest.fail('counted again'))
    assert class_pixels(dataset).tolist() == PIXELS.tolist()
    monkeypatch.undo()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    label = tmp_path / 'data' / 'train' / 'dry' / 'labels' / '4.png'
    Image.fromarray(np.full((10, 10), 2, np.uint8)).save(label)
    assert class_pixels(dataset)[4].tolist() == [0, 0, 100]


@pytest.mark.parametrize('temperature', [0.01, 0.5, 10.0])
def test_probabilities_follow_the_formula(temperature):
    pixels = PIXELS.sum(axis=0)
    weights = np.exp((1 - pixels / pixels.sum()) / temperature)
    np.testing.assert_allclose(
        class_probabilities(pixels, temperature, np.ones(3, bool)), weights / weights.sum())
    without = class_probabilities(pixels, temperature, np.array([True, True, False]))
    assert without[2] == 0
    np.testing.assert_allclose(without[:2], weights[:2] / weights[:2].sum())


def test_images_come_as_often_as_the_law_says(dataset):
    sampler = RareClassSampler(dataset, temperature=0.5, min_pixels=20, seed=1)
    p = sampler.probabilities
    shown = [np.flatnonzero(column >= 20) for column in PIXELS.T]
    expected = np.zeros(len(ROWS))
    for c, images in enumerate(shown):
        expected[images] += p[c] / len(images)
    counts = np.bincount(take(sampler, 12000), minlength=len(ROWS)) / 12000
    np.testing.assert_allclose(counts, expected, atol=0.015)


def test_one_sequence_for_all_ranks_that_can_start_anywhere(dataset):
    sampler = RareClassSampler(dataset, temperature=0.5, min_pixels=10, seed=4)
    whole = take(sampler, 40)
    assert take(sampler, 10, start=17) == whole[17:27]
    ranks = [take(sampler, 10, start=8, rank=rank, world=2) for rank in range(2)]
    assert [index for pair in zip(*ranks, strict=True) for index in pair] == whole[8:28]
    other = RareClassSampler(dataset, temperature=0.5, min_pixels=10, seed=5)
    assert take(other, 40) != whole
    other.load_state_dict(sampler.state_dict(9))
    assert list(itertools.islice(other, 5)) == whole[9:14]


def test_refusals(dataset):
    with pytest.raises(DataError, match='no training image has 101 pixels of any class'):
        RareClassSampler(dataset, min_pixels=101, seed=0)
    with pytest.raises(ConfigError, match=r'sampler\.temperature=0 is no temperature'):
        RareClassSampler(dataset, temperature=0, seed=0)
