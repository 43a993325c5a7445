# SPDX-License-Identifier: Apache-2.0
"""The forest plot: what is drawn where, and in which colour."""

import math

import numpy as np
import pytest

from crossearth.evaluation.paired import Difference
from crossearth.visualization.forest import BETTER, OPEN, WORSE, forest_chart

EMPTY = Difference(math.nan, math.nan, math.nan, 0)


def columns(picture, colour):
    """Columns of the picture that have a colour, within antialiasing."""
    channels = [int(colour[index:index + 2], 16) for index in (1, 3, 5)]
    return np.flatnonzero((np.abs(picture.astype(int) - channels).max(axis=2) < 25).any(axis=0))


def chart(*rows, **kwargs):
    named = {f'method {index}': row for index, row in enumerate(rows)}
    return forest_chart(named, 'Rein', 'mIoU points', **kwargs)


def test_colours_say_on_which_side_of_zero_the_interval_is():
    picture = chart(Difference(2, 1, 3, 9), Difference(-2, -3, -1, 9), Difference(0, -1, 1, 9))
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    better, worse = columns(picture, BETTER), columns(picture, WORSE)
    assert worse.max() < better.min()
    middle = (worse.max() + better.min()) / 2
    assert better.mean() - middle == pytest.approx(middle - worse.mean(), rel=0.1)
    assert np.ptp(better) == pytest.approx(np.ptp(worse), abs=4)


def test_twice_the_interval_is_twice_as_long():
    frame = Difference(0, -6, 6, 9)  # the same scale in both
    wide = np.ptp(columns(chart(Difference(3, 1, 5, 9), frame), BETTER))
    half = np.ptp(columns(chart(Difference(3, 2, 4, 9), frame), BETTER))
    assert wide == pytest.approx(2 * half, rel=0.05)


def test_what_is_not_measured_is_not_drawn():
    picture = chart(EMPTY, EMPTY)
    for colour in (BETTER, WORSE):
        assert len(columns(picture, colour)) == 0


def test_a_single_pair_is_a_grey_mark():
    single = Difference(2, math.nan, math.nan, 1)
    picture = chart(single, Difference(-4, -6, -2, 9), title='few')
    assert len(columns(picture, BETTER)) == 0
    assert len(columns(picture, OPEN)) > 0


def test_no_row():
    with pytest.raises(ValueError, match='at least one row'):
        forest_chart({}, 'Rein', 'mIoU points')
