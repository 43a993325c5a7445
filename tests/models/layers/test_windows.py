# SPDX-License-Identifier: Apache-2.0
"""Windows of a map: which pixel lies where, and the way back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossearth.models.layers.windows import join_windows, pad_to_windows, split_windows

SIDES = st.integers(1, 16)


@settings(deadline=None, max_examples=30)
@given(height=SIDES, width=SIDES, window=st.integers(1, 7))
def test_join_undoes_pad_and_split(height, width, window):
    x = torch.randn(2, 3, height, width)
    windows = split_windows(pad_to_windows(x, window), window)
    count = -(-height // window) * -(-width // window)
    assert windows.shape == (2, count, window**2, 3)
    assert torch.equal(join_windows(windows, window, (height, width)), x)


def test_windows_and_their_pixels_go_row_by_row():
    x = torch.arange(24.0).view(1, 4, 6)
    windows = split_windows(x, 2)[..., 0]
    assert windows[0].tolist() == [0, 1, 6, 7]
    assert windows[2].tolist() == [4, 5, 10, 11]
    assert windows[3].tolist() == [12, 13, 18, 19]


@pytest.mark.parametrize(('side', 'before', 'after'), [(7, 0, 0), (8, 3, 3), (9, 2, 3)])
def test_padding_is_halved_and_the_odd_one_is_last(side, before, after):
    rows = pad_to_windows(torch.ones(side, 7), 7)[:, 0]
    assert rows.tolist() == [0] * before + [1] * side + [0] * after
    assert pad_to_windows(torch.ones(7, side), 7)[0].tolist() == rows.tolist()
