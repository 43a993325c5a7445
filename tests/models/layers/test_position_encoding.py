# SPDX-License-Identifier: Apache-2.0
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossearth.models.layers.position_encoding import sine_position_encoding


@settings(deadline=None, max_examples=20)
@given(h=st.integers(1, 5), w=st.integers(1, 5), quarter=st.integers(1, 4))
def test_equals_the_formula(h: int, w: int, quarter: int) -> None:
    channels = 4 * quarter
    half = channels // 2
    found = sine_position_encoding(h, w, channels).view(h, w, channels)
    for y in range(h):
        for x in range(w):
            for c in range(channels):
                place, length = (y, h) if c < half else (x, w)
                k = c % half
                angle = 2 * math.pi * (place + 1) / (length + 1e-6) / 10000 ** (2 * (k // 2) / half)
                expected = math.cos(angle) if k % 2 else math.sin(angle)
                assert found[y, x, c].item() == pytest.approx(expected, abs=2e-6)



def test_refuses_channels_that_cannot_be_split() -> None:
    with pytest.raises(ValueError, match='multiple of 4, but is 6'):
        sine_position_encoding(2, 2, 6)
