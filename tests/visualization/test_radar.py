# SPDX-License-Identifier: Apache-2.0
"""The radar chart: what is drawn, and what is left open."""

import numpy as np
import pytest

from crossearth.visualization.radar import RadarLine, radar_chart

AXES = {f'axis {index}': 'first' if index < 4 else 'second' for index in range(8)}
RED, BLUE = '#ff0000', '#0000ff'


def share(picture, colour, part=np.s_[:, :]):
    """How many pixels of a part of the picture have a colour, within antialiasing."""
    channels = [int(colour[index:index + 2], 16) for index in (1, 3, 5)]
    return int((np.abs(picture[part].astype(int) - channels).max(axis=2) < 40).sum())


def test_a_full_line_and_an_empty_one():
    values = [50.0] * 8
    picture = radar_chart(AXES, [RadarLine('a', values, RED, ours=True),
                                 RadarLine('b', [None] * 8, BLUE, ours=True)])
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    chart = np.s_[:int(0.9 * len(picture))]  # the legend is below
    assert share(picture, RED, chart) > 1000
    assert share(picture, BLUE, chart) == 0


def test_a_missing_number_opens_the_line():
    half = [50.0] * 4 + [None] * 4           # clockwise from the top: the right half
    picture = radar_chart(AXES, [RadarLine('a', half, RED, ours=True)])
    rows, columns = picture.shape[:2]
    left = share(picture, RED, np.s_[:int(0.9 * rows), :columns * 4 // 10])
    right = share(picture, RED, np.s_[:int(0.9 * rows), columns * 4 // 10:])
    assert left == 0
    assert right > 500


def test_a_lonely_number_is_a_mark():
    picture = radar_chart(AXES, [RadarLine('a', [None, 50.0, *[None] * 6], RED, ours=True)])
    assert 10 < share(picture, RED, np.s_[:int(0.9 * len(picture))]) < 500


def test_larger_numbers_lie_further_out():
    def extent(value):
        picture = radar_chart(AXES, [RadarLine('a', [value] * 8, RED, ours=True),
                                     RadarLine('b', [79.0] * 8, BLUE)])
        rows = np.nonzero((picture[:int(0.9 * len(picture))] == (255, 0, 0)).all(axis=2))[0]
        return rows.max() - rows.min()

    assert extent(60) == pytest.approx(2 * extent(30), rel=0.05)


def test_unequal_lengths():
    with pytest.raises(ValueError, match='a has 3 values for 8 axes'):
        radar_chart(AXES, [RadarLine('a', [1, 2, 3], RED)])
