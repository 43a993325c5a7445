# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from crossearth.datasets.labels import (
    LabelRule,
    StoredLabel,
    colour_codes,
    read_colours,
    read_label,
    read_stored,
)
from crossearth.errors import ConfigError, DataError


def save(array: np.ndarray, path: Path, mode: str | None = None) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return path


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int32])
def test_read_label_keeps_integers(tmp_path: Path, dtype: type) -> None:
    stored = np.array([[0, 5], [255, 7]], dtype)
    assert read_label(save(stored, tmp_path / 'ü 标签.tif')).tolist() == stored.tolist()


def test_read_label_keeps_palette_indices(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), mode='P')
    image.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    image.save(tmp_path / 'palette.png')
    assert read_label(tmp_path / 'palette.png').tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'LA', '1'])
def test_read_label_takes_equal_channels(tmp_path: Path, mode: str) -> None:
    stored = np.array([[0, 255], [255, 0]], np.uint8)
    expected = stored // 255 if mode == '1' else stored
    assert read_label(save(stored, tmp_path / 'grey.png', mode)).tolist() == expected.tolist()


def test_read_label_refuses_colours(tmp_path: Path) -> None:
    colours = np.zeros((2, 2, 3), np.uint8)
    colours[0, 0] = 255, 0, 0
    with pytest.raises(DataError, match=r'colours\.png has three unequal channels.*colour mask'):
        read_label(save(colours, tmp_path / 'colours.png'))


def test_read_label_refuses_fractions(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'half\.tif holds float32'):
        read_label(save(np.full((2, 2), 0.5, np.float32), tmp_path / 'half.tif'))


def test_read_label_names_a_damaged_file(tmp_path: Path) -> None:
    path = save(np.random.default_rng(0).integers(0, 9, (64, 64), np.uint8), tmp_path / 'cut.png')
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r'Cannot read the label .*cut\.png'):
        read_label(path)


@pytest.mark.parametrize('value', [256, 300, 511])
def test_wide_labels_are_refused_not_wrapped(value: int) -> None:
    with pytest.raises(DataError, match=rf'mask\.png holds {value} \(1 px\).*stored as 0 to 2'):
        LabelRule(3).train_ids(np.array([[0, value]], np.uint16), 'mask.png')


def test_complaint_lists_values_and_pixels() -> None:
    stored = np.arange(12, dtype=np.uint8).repeat(2)[None]
    with pytest.raises(DataError, match=r'3 \(2 px\), 4 .*, 7 \(2 px\) and 4 more values'):
        LabelRule(3).train_ids(stored, 'mask.png')


def test_unknown_labels_can_be_ignored() -> None:
    rule = LabelRule(3, unknown_label='ignore', label_map={255: 1})
    stored = np.array([[0, 2, 3, 255, 256, 511]], np.uint16)
    assert rule.train_ids(stored, '').tolist() == [[0, 2, 255, 1, 255, 255]]


@given(num_classes=st.integers(1, 250), reduce=st.booleans(), data=st.data())
def test_table_is_shift_then_map(num_classes: int, reduce: bool, data: st.DataObject) -> None:
    target = st.one_of(st.integers(0, num_classes - 1), st.just(255))
    label_map = data.draw(st.dictionaries(st.integers(0, 255), target, max_size=5))
    rule = LabelRule(num_classes, reduce, label_map, 'ignore')
    ids = rule.train_ids(np.arange(256, dtype=np.uint8)[None], '')[0]
    for stored in range(256):
        shifted = stored if not reduce or stored == 255 else (stored - 1 if stored else 255)
        mapped = label_map.get(shifted, shifted)
        assert ids[stored] == (mapped if mapped < num_classes else 255)


@pytest.mark.parametrize('label_map', [{0: 3}, {300: 1}, {-1: 0}])
def test_label_map_must_lead_to_classes(label_map: dict[int, int]) -> None:
    with pytest.raises(ConfigError, match='train ids 0 to 2'):
        LabelRule(3, label_map=label_map)


def test_unknown_label_is_one_of_two_words() -> None:
    with pytest.raises(ConfigError, match="'error' or 'ignore', not 'skip'"):
        LabelRule(3, unknown_label='skip')


# --- masks and colours


@given(threshold=st.integers(1, 255))
def test_threshold_leaves_two_classes(threshold: int) -> None:
    stored = np.arange(256, dtype=np.uint8)
    ids = LabelRule(2, threshold=threshold).train_ids(stored, '')
    np.testing.assert_array_equal(ids, stored >= threshold)


@given(palette=st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=9, unique=True),
       data=st.data())
def test_colours_and_ids_are_inverse(palette: list[tuple[int, int, int]], data) -> None:
    ids = np.array([data.draw(st.lists(st.integers(0, len(palette) - 1), min_size=1, max_size=9))])
    painted = colour_codes(np.array(palette)[ids])
    rule = LabelRule(len(palette), colours=palette)
    np.testing.assert_array_equal(rule.train_ids(painted, ''), ids)


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'P'])
def test_read_colours(tmp_path: Path, mode: str) -> None:
    colours = Image.fromarray(np.array([[[1, 2, 3], [255, 0, 9]]], np.uint8))
    (colours.quantize(2) if mode == 'P' else colours.convert(mode)).save(tmp_path / 'label.png')
    assert read_colours(tmp_path / 'label.png').tolist() == [[0x010203, 0xFF0009]]


def test_read_colours_refuses_16_bits(tmp_path: Path) -> None:
    path = save(np.array([[300]], np.uint16), tmp_path / 'deep.png')
    with pytest.raises(DataError, match=r'deep\.png has the pixel format I;16'):
        read_colours(path)


def test_foreign_colours_are_counted_or_ignored(tmp_path: Path) -> None:
    path = save(np.array([[[0, 0, 0], [9, 8, 7], [9, 8, 7]]], np.uint8), tmp_path / 'label.png')
    message = r'label\.png holds the colours \(9, 8, 7\) \(2 px\), which none of the 1 classes'
    rule = LabelRule(1, colours=[[0, 0, 0]])
    with pytest.raises(DataError, match=message):
        rule.read(path)
    with pytest.raises(DataError, match=message):
        rule.check(read_stored(path))
    assert LabelRule(1, unknown_label='ignore', colours=[[0, 0, 0]]).read(path).tolist() == [
        [0, 255, 255]]


@pytest.mark.parametrize(('mode', 'ids', 'coloured'), [
    ('L', {3: 1, 9: 2}, False), ('P', {0: 1, 1: 2}, True), ('RGB', {3: 1, 9: 2}, False)])
def test_what_a_file_stores(tmp_path: Path, mode: str, ids: dict[int, int], coloured: bool) -> None:
    image = Image.fromarray(np.array([[3, 9, 9]], np.uint8)).convert(mode)
    if mode == 'P':
        image = Image.fromarray(np.array([[0, 1, 1]], np.uint8), mode='P')
        image.putpalette([3, 3, 3, 9, 9, 9])
    image.save(tmp_path / 'label.png')
    stored = read_stored(tmp_path / 'label.png')
    assert stored.ids == ids
    assert stored.colours == ({0x030303: 1, 0x090909: 2} if coloured else None)


@given(stored=st.lists(st.integers(0, 300), min_size=1, max_size=9), reduce=st.booleans(),
       unknown=st.sampled_from(['error', 'ignore']))
def test_check_fails_where_reading_fails(stored: list[int], reduce: bool, unknown: str) -> None:
    rule, array = LabelRule(3, reduce, unknown_label=unknown), np.array([stored], np.uint16)
    values = dict(zip(*(a.tolist() for a in np.unique(array, return_counts=True)), strict=True))
    messages = []
    for attempt in (lambda: rule.train_ids(array, 'x.png'),
                    lambda: rule.check(StoredLabel(Path('x.png'), values))):
        try:
            attempt()
            messages.append('')
        except DataError as error:
            messages.append(str(error))
    assert messages[0] == messages[1]
