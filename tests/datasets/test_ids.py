# SPDX-License-Identifier: Apache-2.0
"""Laws of the detection, whatever the values are."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crossearth.datasets.ids import MASKS, Ids, detect_ids, from_one, from_zero
from crossearth.datasets.labels import LabelRule, StoredLabel
from crossearth.errors import DataError


def detect(ways: tuple[Ids, ...], files: list[list[int]], classes: int) -> LabelRule | None:
    """The rule that is found; None where the detection refuses to say."""
    labels = [StoredLabel(Path('x.png'), dict.fromkeys(file, 1)) for file in files]
    try:
        way = detect_ids(ways, labels, lambda way: LabelRule(classes, **way.rule), 'here')
    except DataError:
        return None
    return LabelRule(classes, **way.rule)


@given(classes=st.integers(2, 20), one=st.booleans(), data=st.data())
def test_never_another_reading_than_the_true_one(classes: int, one: bool, data) -> None:
    """Files are written from ids 0 to C - 1 and 255; a reading that is taken gives these back."""
    true = data.draw(st.lists(st.lists(
        st.sampled_from([*range(classes), 255]), min_size=1, max_size=4), min_size=1, max_size=4))
    files = [[0 if i == 255 else i + 1 for i in file] for file in true] if one else true
    rule = detect((from_zero(classes), from_one(classes)), files, classes)
    if rule is not None:
        for stored, ids in zip(files, true, strict=True):
            assert rule.train_ids(np.array(stored), '').tolist() == ids


@given(classes=st.integers(2, 20), one=st.booleans())
def test_all_classes_and_an_ignored_pixel_are_enough(classes: int, one: bool) -> None:
    stored = [0, *range(1, classes + 1)] if one else [*range(classes), 255]
    rule = detect((from_one(classes), from_zero(classes)), [stored], classes)
    assert rule is not None
    assert rule.reduce_zero_label == one


@given(foreground=st.lists(st.booleans(), min_size=1), bright=st.sampled_from([1, 255]),
       noise=st.lists(st.integers(0, 60), min_size=1))
def test_masks_survive_noise(foreground: list[bool], bright: int, noise: list[int]) -> None:
    true = np.array(foreground)
    stored = np.where(true, bright, 0)
    if bright == 255:
        blur = np.resize(noise, true.shape)
        stored = np.where(true, 255 - blur, blur)
    rule = detect(MASKS, [stored.tolist()], 2)
    if rule is not None:  # nothing but noise, or 0, 1 and 255 alone, says nothing
        if set(stored.tolist()) <= {0, 1} and bright == 255:
            return  # an empty noisy mask alone cannot be told from one of 0 and 1
        np.testing.assert_array_equal(rule.train_ids(stored, ''), true)
    else:
        assert stored.max() < 128 or set(stored.tolist()) <= {0, 1, 255}
