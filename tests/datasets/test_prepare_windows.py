# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossearth.benchmark import DATA_SETS
from crossearth.datasets.prepare import recipes
from crossearth.datasets.prepare.windows import origins, windows

# Width and height of the 33 areas of Vaihingen, as published.
VAIHINGEN = {
    1: (1919, 2569), 2: (2428, 2767), 3: (2006, 3007), 4: (1887, 2557), 5: (1887, 2557),
    6: (1887, 2557), 7: (1887, 2557), 8: (1887, 2557), 10: (1887, 2557), 11: (1893, 2566),
    12: (1922, 2575), 13: (2818, 2558), 14: (1919, 2565), 15: (1919, 2565), 16: (1919, 2565),
    17: (2336, 1281), 20: (1866, 2315), 21: (1903, 2546), 22: (1903, 2546), 23: (1903, 2546),
    24: (1903, 2546), 26: (2995, 1783), 27: (1917, 3313), 28: (1917, 2567), 29: (1917, 2563),
    30: (1934, 2563), 31: (1980, 2555), 32: (1980, 2555), 33: (1581, 2555), 34: (1388, 2555),
    35: (2805, 1884), 37: (1996, 1995), 38: (3816, 2550)}

SIDES = st.integers(1, 60)


@given(SIDES, SIDES, st.integers(1, 20), st.data())
def test_windows_cover_every_pixel_and_none_outside(width, height, size, data):
    stride = data.draw(st.integers(1, size))
    covered = np.zeros((height, width), int)
    found = windows(width, height, size, stride)
    for x0, y0, x1, y1 in found:
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert (x1 - x0, y1 - y0) == (min(size, width), min(size, height))
        covered[y0:y1, x0:x1] += 1
    assert covered.min() > 0
    assert len(set(found)) == len(found)
    assert len(found) == math.prod(
        math.ceil(max(side - size, 0) / stride) + 1 for side in (width, height))


@given(st.integers(1, 200), st.integers(1, 50))
def test_grid_is_regular_but_for_the_last(length, size):
    *regular, last = origins(length, size, size)
    assert regular == [i * size for i in range(len(regular))]
    assert last == max(length - size, 0)


def test_casid_image_becomes_5_x_5():
    assert origins(5000, 1024, 994) == [0, 994, 1988, 2982, 3976]


def grid(width, height):
    return len(windows(width, height, 512, 512))


@pytest.mark.parametrize('split', ['train', 'test'])
def test_published_counts_of_isprs(split):
    tiles = {'train': recipes.POTSDAM_TRAIN, 'test': recipes.POTSDAM_TEST}[split]
    areas = {'train': recipes.VAIHINGEN_TRAIN, 'test': recipes.VAIHINGEN_TEST}[split]
    assert grid(6000, 6000) == 144
    assert len(tiles) * 144 == DATA_SETS['potsdam'].counts['potsdam_rgb', split]
    assert (sum(grid(*VAIHINGEN[int(area)]) for area in areas)
            == DATA_SETS['vaihingen'].counts['vaihingen', split])


def test_splits_share_no_tile_and_name_all():
    assert not recipes.POTSDAM_TRAIN & recipes.POTSDAM_TEST
    assert len(recipes.POTSDAM_TRAIN | recipes.POTSDAM_TEST) == 38
    assert {str(n) for n in VAIHINGEN} == recipes.VAIHINGEN_TRAIN | recipes.VAIHINGEN_TEST
    assert not recipes.VAIHINGEN_TRAIN & recipes.VAIHINGEN_TEST
