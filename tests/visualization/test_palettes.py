# SPDX-License-Identifier: Apache-2.0
"""Painting of label maps."""

import numpy as np
import pytest

from crossearth.visualization import colorize, overlay

PALETTE = [[255, 0, 0], [0, 200, 0], [0, 0, 100]]


@pytest.mark.parametrize('dtype', [np.uint8, np.int64])
def test_each_class_has_its_colour_and_ignored_pixels_are_white(dtype):
    picture = colorize(np.array([[0, 1], [2, 255]], dtype=dtype), PALETTE)
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[[255, 0, 0], [0, 200, 0]], [[0, 0, 100], [255, 255, 255]]]


def test_colorize_uses_the_given_ignore_index():
    assert colorize(np.array([[0]]), PALETTE, ignore_index=0).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize('bad', [3, -1])
def test_class_without_colour(bad):
    with pytest.raises(ValueError, match='but the palette has 3 colours'):
        colorize(np.array([[0, bad]]), PALETTE)


def test_overlay_mixes_classes_and_leaves_ignored_pixels():
    image = np.full((1, 2, 3), 100, dtype=np.uint8)
    picture = overlay(image, np.array([[1, 255]]), PALETTE, alpha=0.25)
    assert picture.tolist() == [[[75, 125, 75], [100, 100, 100]]]
    assert picture.dtype == np.uint8


@pytest.mark.parametrize('alpha', [0.0, 1.0])
def test_overlay_at_its_limits(alpha):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    label = rng.integers(0, 3, (4, 5))
    expected = colorize(label, PALETTE) if alpha else image
    np.testing.assert_array_equal(overlay(image, label, PALETTE, alpha), expected)


def test_overlay_of_other_size():
    with pytest.raises(ValueError, match='differ in size'):
        overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3), int), PALETTE)
