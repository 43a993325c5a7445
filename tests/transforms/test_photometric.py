# SPDX-License-Identifier: Apache-2.0
"""The distortion of colours against mmseg's, with the same draws."""

from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseg.datasets.transforms import PackSegInputs
from mmseg.datasets.transforms import PhotoMetricDistortion as Published

from crossearth.transforms import PhotoMetricDistortion


def picture(seed: int = 0, height: int = 24, width: int = 40) -> np.ndarray:
    """Noise with black, white, grey and pure colours among it."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    image[:4] = np.random.default_rng(seed).choice([0, 255], (4, width, 3))
    image[4:6] = image[4:6, :, :1]
    return image


def both(seed: int, image: np.ndarray, **options: Any) -> list[tuple[np.ndarray, float]]:
    """The images of ours and of mmseg, and the number that each would draw next."""
    found = []
    for kind in (PhotoMetricDistortion, Published):
        np.random.seed(seed)
        results = kind(**options).transform({'img': image.copy(), 'kept': 1})
        assert results['kept'] == 1
        found.append((results['img'], np.random.random()))
    return found


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_pixels_and_draws_are_those_of_mmseg(seed: int) -> None:
    (ours, next_of_ours), (theirs, next_of_theirs) = both(seed, picture(seed))
    np.testing.assert_array_equal(ours, theirs)
    assert next_of_ours == next_of_theirs


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.floats(0, 1), st.floats(1, 4),
       st.integers(1, 200))
def test_other_ranges(seed: int, brightness: int, least: float, greatest: float, hue: int) -> None:
    (ours, _), (theirs, _) = both(
        seed, picture(seed), brightness_delta=brightness, contrast_range=(least, greatest),
        saturation_range=(least, greatest), hue_delta=hue)
    np.testing.assert_array_equal(ours, theirs)


def test_a_part_of_a_larger_image() -> None:
    image = picture(0, 40, 60)
    window = image[5:30, 7:50]
    for seed in range(20):
        np.random.seed(seed)
        ours = PhotoMetricDistortion()({'img': window})['img']
        np.testing.assert_array_equal(ours, both(seed, window)[1][0])
    np.testing.assert_array_equal(image, picture(0, 40, 60))  # what was given stays as it is


def test_nothing_drawn_is_nothing_changed() -> None:
    with mock.patch('numpy.random.randint', side_effect=lambda *args: 0):
        results = PhotoMetricDistortion()({'img': picture()})
    np.testing.assert_array_equal(results['img'], picture())


def test_half_of_the_images_get_each_change() -> None:
    grey = np.full((1, 1, 3), 100, np.uint8)
    red = np.array([[[0, 0, 255]]], np.uint8)
    still = {'contrast_range': (1, 1), 'saturation_range': (1, 1)}
    np.random.seed(0)
    brighter, turned = (
        np.mean([(kind({'img': image})['img'] != image).any() for _ in range(2000)])
        for image, kind in ((grey, PhotoMetricDistortion(**still)),
                            (red, PhotoMetricDistortion(0, **still))))
    assert abs(brighter - 0.5 * 63 / 64) < 0.05  # less than one grey level up is no change
    assert abs(turned - 0.5 * 35 / 36) < 0.05  # a turn by 0 is none


@pytest.mark.parametrize('seed', range(4))
def test_packing_has_nothing_to_transpose(seed: int) -> None:
    np.random.seed(seed)
    results = PhotoMetricDistortion()({'img': picture()})
    packed = PackSegInputs(meta_keys=())(results)['inputs']
    assert packed.data_ptr() == results['img'].ctypes.data
    assert packed.is_contiguous()
    np.testing.assert_array_equal(packed.permute(1, 2, 0).numpy(), results['img'])
