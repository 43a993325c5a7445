# SPDX-License-Identifier: Apache-2.0
"""Crop and flip against those of mmseg and mmcv, with the same draws."""

from collections.abc import Callable

import cv2
import mmcv.transforms
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseg.datasets import transforms as mmseg_transforms

from crossearth.errors import ConfigError
from crossearth.transforms import RandomCrop, RandomFlip

KEYS = ('img', 'gt_seg_map')
sides = st.integers(1, 40)


def sample(seed: int, height: int, width: int, classes: int) -> dict:
    """A sample of noise, whose labels lie in blocks; 0, 1, ... and 255."""
    rng = np.random.default_rng(seed)
    blocks = rng.choice([*range(classes), 255], (4, 4)).astype(np.uint8)
    return {'img': rng.integers(0, 256, (height, width, 3), np.uint8),
            'gt_seg_map': cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST),
            'seg_fields': ['gt_seg_map'], 'img_shape': (height, width)}


def run(transform: Callable[[dict], dict], seed: int, given_sample: dict) -> tuple[dict, float]:
    """The result, and the number that would be drawn next."""
    np.random.seed(seed)
    results = transform({key: value.copy() if key in KEYS else value
                         for key, value in given_sample.items()})
    return results, np.random.random()


def assert_same(ours: tuple[dict, float], theirs: tuple[dict, float]) -> None:
    assert ours[0].keys() == theirs[0].keys()
    for key, value in theirs[0].items():
        np.testing.assert_array_equal(ours[0][key], value, err_msg=key)
    assert ours[1] == theirs[1]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), sides, sides, sides, sides, st.integers(0, 3),
       st.sampled_from([0.3, 0.5, 0.75, 1.0]), st.sampled_from([255, 0]))
def test_crop_is_that_of_mmseg(
        seed: int, height: int, width: int, h: int, w: int, classes: int, ratio: float,
        ignored: int) -> None:
    given_sample = sample(seed, height, width, classes)
    assert_same(*(run(kind((h, w), ratio, ignored), seed, given_sample)
                  for kind in (RandomCrop, mmseg_transforms.RandomCrop)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), sides, sides, st.sampled_from([
    (0.5, 'horizontal'), (0.9, ['horizontal', 'vertical', 'diagonal']),
    ([0.3, 0.6], ['diagonal', 'vertical'])]))
def test_flip_is_that_of_mmcv(seed: int, height: int, width: int, options: tuple) -> None:
    given_sample = sample(seed, height, width, 3)
    assert_same(*(run(kind(*options), seed, given_sample)
                  for kind in (RandomFlip, mmcv.transforms.RandomFlip)))


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_what_is_flipped_is_written_out(direction: str) -> None:
    results = RandomFlip(1.0, direction)(sample(0, 6, 8, 2))
    assert all(results[key].flags.c_contiguous for key in KEYS)


def test_image_without_label() -> None:
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    results = RandomFlip(1.0)(RandomCrop(9)({'img': image}))
    np.testing.assert_array_equal(results['img'], image[:, ::-1])


def test_crops_follow_the_rule_of_the_largest_class() -> None:
    label = np.zeros((8, 80), np.uint8)
    label[:, 72:] = 1
    results = {'img': np.zeros((8, 80, 3), np.uint8), 'gt_seg_map': label,
               'seg_fields': ['gt_seg_map']}
    crop = RandomCrop(8, cat_max_ratio=0.75)
    np.random.seed(0)
    shares = [crop(results)['gt_seg_map'].mean() for _ in range(600)]
    # of 73 places 3 show enough of both, and there are 11 draws
    mixed = np.mean([0.25 < share < 0.75 for share in shares])
    assert abs(mixed - (1 - (70 / 73) ** 11)) < 0.07


@pytest.mark.parametrize('size', [0, (0, 5), (5, -1), (5,), (5, 5, 3)])
def test_crop_of_no_size(size: object) -> None:
    with pytest.raises(ConfigError, match=r'RandomCrop: crop_size=.* is no size\. Give height'):
        RandomCrop(size)
