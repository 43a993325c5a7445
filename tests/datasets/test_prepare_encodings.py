# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from official_copies import ISPRS, encode

from crossearth.datasets import CASID
from crossearth.datasets.prepare.encodings import (
    IdTable,
    Threshold,
    decode_image,
    decode_label,
    encode_png,
)
from crossearth.datasets.prepare.recipes import CASID_COLOURS, ISPRS_COLOURS
from crossearth.errors import DataError


@pytest.mark.parametrize(('table', 'palette'), [
    (ISPRS_COLOURS, ISPRS), (CASID_COLOURS, np.array(CASID.METAINFO['palette'], np.uint8))])
@given(data=st.data())
def test_colours_to_ids_and_back(table, palette, data):
    drawn = arrays(np.uint8, (4, 5), elements=st.integers(0, len(palette) - 1))
    painted = palette[data.draw(drawn)]
    ids, off = table.train_ids(decode_label(encode_png(painted), 'a.png'), 'a.png')
    back = palette[np.where(ids == 255, len(palette) - 1, ids)]
    assert off == 0
    np.testing.assert_array_equal(back, painted)


def test_isprs_colours_are_those_of_the_release():
    # boundary, impervious, building, low vegetation, tree, car, clutter
    row = [[0, 0, 0], [255, 255, 255], [0, 0, 255], [0, 255, 255], [0, 255, 0], [255, 255, 0],
           [255, 0, 0]]
    ids, off = ISPRS_COLOURS.train_ids(np.array([row], np.uint8), 'a.tif')
    assert (ids.tolist(), off) == ([[255, 0, 1, 2, 3, 4, 5]], 0)


def test_other_colours_are_ignored_and_counted():
    stored = np.array([[[252, 255, 0], [255, 255, 0], [0, 0, 0], [1, 0, 0]]], np.uint8)
    ids, off = ISPRS_COLOURS.train_ids(stored, 'a.tif')
    assert (ids.tolist(), off) == ([[255, 4, 255, 255]], 2)


def test_unknown_ids_are_ignored_and_counted():
    ids, off = IdTable({0: 255, 1: 0}).train_ids(np.array([[0, 1, 7, 255]], np.uint8), 'a.png')
    assert (ids.tolist(), off) == ([[255, 0, 255, 255]], 2)


def test_refused_id_names_the_file_and_the_remedy():
    with pytest.raises(DataError, match=r'a\.png holds the id 11: version 1'):
        IdTable({0: 0}, (11,), 'version 1.').train_ids(np.array([[11]], np.uint8), 'a.png')


@pytest.mark.parametrize('quality', [50, 75, 95])
@pytest.mark.parametrize('channels', [1, 3])
def test_mask_with_the_noise_of_a_jpeg(quality, channels):
    # edges across the 8-px blocks of the format
    truth = np.kron(np.eye(4, dtype=np.uint8), np.ones((10, 10), np.uint8))
    mask = np.squeeze(np.dstack([truth * 255] * channels))
    stored = decode_label(encode(mask, '.jpg', quality=quality), 'a.jpg')
    assert len(np.unique(stored)) > 2
    ids, off = Threshold().train_ids(stored, 'a.jpg')
    np.testing.assert_array_equal(ids, truth)
    assert off == 0


def test_one_bit_mask_is_black_and_white():
    assert decode_label(encode(np.eye(3, dtype=bool), '.tif'), 'a.tif').tolist() == (
        np.eye(3, dtype=np.uint8) * 255).tolist()


def test_mask_of_ones_among_others_of_255_is_refused():
    with pytest.raises(DataError, match=r'a\.png holds 0 and 1, but others'):
        Threshold().train_ids(np.eye(3, dtype=np.uint8), 'a.png')


def test_coloured_mask_is_refused():
    with pytest.raises(DataError, match=r'a\.png is coloured'):
        Threshold().train_ids(ISPRS[None], 'a.png')


@pytest.mark.parametrize('array', [np.eye(3, dtype=np.uint16) * 300, np.eye(3, dtype=np.float32)])
def test_label_of_more_than_8_bits_is_refused_with_its_path(array):
    with pytest.raises(DataError, match=r'd/a\.tif has the pixel type .* 8 bits are expected'):
        decode_label(encode(array, '.tif'), 'd/a.tif')


def test_three_channels_are_refused_where_ids_are_expected():
    stored = decode_label(encode(np.zeros((3, 3, 3), np.uint8), '.png'), 'd/a.png')
    with pytest.raises(DataError, match=r'd/a\.png has 3 channels, but one of class ids'):
        IdTable({0: 0}).train_ids(stored, 'd/a.png')


def test_ids_are_refused_where_colours_are_expected():
    with pytest.raises(DataError, match=r'd/a\.tif has one channel, but colours'):
        ISPRS_COLOURS.train_ids(np.zeros((3, 3), np.uint8), 'd/a.tif')


@pytest.mark.parametrize('array', [np.zeros((3, 3), np.uint8), np.zeros((3, 3), np.uint16)])
def test_image_without_three_bands_is_refused(array):
    with pytest.raises(DataError, match=r'a\.png has the pixel type .* three 8-bit bands'):
        decode_image(encode(array, '.png'), 'a.png')


@pytest.mark.parametrize('decode', [decode_image, decode_label])
def test_damaged_file_is_named(decode):
    whole = encode(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8), '.png')
    with pytest.raises(DataError, match=r'Cannot decode d/a\.png'):
        decode(whole[:200], 'd/a.png')


def test_png_keeps_colours_and_their_order():
    image = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    np.testing.assert_array_equal(decode_image(encode_png(image), 'a.png'), image)
