# SPDX-License-Identifier: Apache-2.0
"""A scene in bands: the bytes of a single run, whoever makes which band and in which order."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inference.bundles import CARD
from inference.rasters import rgb, write_raster

from crossearth.errors import RasterError
from crossearth.inference.bands import cut_rows, predict_band, start_bands
from crossearth.inference.card import Card
from crossearth.inference.journal import Journal
from crossearth.inference.predictor import Predictor
from crossearth.inference.scene import SceneOptions, predict_scene
from crossearth.inference.tiling import tile_starts


class Counted:
    """Scores that blend to other values wherever tiles overlap; notes its tiles."""

    def __init__(self) -> None:
        self.tiles = 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.tiles += len(images)
        return images + images.mean((2, 3), keepdims=True)


def predictor(scorer=None):
    return Predictor(scorer or Counted(), 3, Card(**deepcopy(CARD), sha256='0' * 64))


@pytest.fixture
def scene(tmp_path):
    data = rgb(700, 90)
    data[:, 200:330] = 7  # bands of tiles without data
    return write_raster(tmp_path / 'scene.tif', data, nodata=7)


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(1, 60), st.integers(1, 600), st.data())
def test_bands_start_where_tiles_do_and_leave_no_gap(height, tile, rows, data):
    overlap = data.draw(st.integers(0, tile - 1))
    bands = cut_rows(height, tile, overlap, rows)
    starts, ends = zip(*bands, strict=True)
    assert starts == (0, *ends[:-1])
    assert ends[-1] == height
    assert set(starts) <= set(tile_starts(height, tile, overlap))
    assert all(end - start >= rows for start, end in bands[:-1])


def test_bands_are_no_longer_than_they_must_be():
    assert cut_rows(10, 4, 2, 4) == [(0, 4), (4, 10)]
    assert cut_rows(12, 4, 2, 3) == [(0, 4), (4, 8), (8, 12)]


@pytest.mark.parametrize(('overlap', 'cut'), [
    (16, {'rows': 100}), (40, {'rows': 1}), (40, {'parts': 3}), (0, {'parts': 1})])
def test_bands_in_any_order_make_the_bytes_of_one_run(scene, tmp_path, overlap, cut):
    options = SceneOptions(tile=64, overlap=overlap, batch=3)

    def named(name: str) -> SceneOptions:
        return replace(options, confidence=tmp_path / f'{name}.c.tif',
                       scores=tmp_path / f'{name}.s.tif')

    whole, out = tmp_path / 'whole.tif', tmp_path / 'out.tif'
    once = predict_scene(scene, predictor(), whole, named('whole'))
    bands = start_bands(scene, predictor(), out, named('out'), **cut)
    for band in reversed(bands):
        predict_band(scene, predictor(), out, named('out'), band)
    last = Counted()
    joined = predict_scene(scene, predictor(last), out, replace(named('out'), resume=True))
    assert last.tiles == 0
    for ending in ('tif', 'c.tif', 's.tif'):
        assert (tmp_path / f'out.{ending}').read_bytes() == (
            tmp_path / f'whole.{ending}').read_bytes()
    assert (joined.pixels, joined.tiles) == (once.pixels, once.tiles)
    assert joined.square_metres == once.square_metres


def test_a_band_goes_on_after_the_rows_that_are_there(scene, tmp_path):
    options, out = SceneOptions(tile=64, overlap=16), tmp_path / 'out.tif'
    (band, *_) = bands = start_bands(scene, predictor(), out, options, parts=2)
    first = Counted()
    predict_band(scene, predictor(first), out, options, band)
    parts = sorted((tmp_path / 'out.tif.resume').glob('rows_*.npz'))
    parts[-1].unlink()
    assert start_bands(scene, predictor(), out, options, parts=2) == bands  # nothing is forgotten
    again = Counted()
    predict_band(scene, predictor(again), out, options, band)
    assert 0 < again.tiles < first.tiles
    assert sorted((tmp_path / 'out.tif.resume').glob('rows_*.npz')) == parts
    done = Counted()
    predict_band(scene, predictor(done), out, options, band)
    assert done.tiles == 0


def test_a_band_that_does_not_fit_into_memory_is_left_to_the_scene(scene, tmp_path):
    def small(images: np.ndarray) -> np.ndarray:
        if images.shape[-1] > 64:
            raise MemoryError
        return Counted()(images)

    options, out = SceneOptions(tile=128, overlap=32), tmp_path / 'out.tif'
    for band in start_bands(scene, predictor(small), out, options, parts=2):
        predict_band(scene, predictor(small), out, options, band)
    joined = predict_scene(scene, predictor(small), out, replace(options, resume=True))
    assert joined.tile == 64  # of a raster of 90 columns
    predict_scene(scene, predictor(), tmp_path / 'whole.tif', SceneOptions(tile=64, overlap=16))
    assert out.read_bytes() == (tmp_path / 'whole.tif').read_bytes()


def test_places_that_could_not_be_read_are_reported_for_all_bands(tmp_path):
    scene = write_raster(tmp_path / 'deflate.tif', rgb(700, 90), compress='deflate', blockysize=16)
    content = bytearray(scene.read_bytes())
    for place in (len(content) // 20, len(content) * 19 // 20):
        content[place:place + 300] = b'?' * 300
    scene.write_bytes(content)
    options = SceneOptions(tile=64, overlap=16, on_bad_tile='nodata')
    once = predict_scene(scene, predictor(), tmp_path / 'whole.tif', options)
    out = tmp_path / 'out.tif'
    for band in start_bands(scene, predictor(), out, options, parts=2):
        predict_band(scene, predictor(), out, options, band)
    joined = predict_scene(scene, predictor(), out, replace(options, resume=True))
    assert len(once.bad_tiles) > 1
    assert sorted(joined.bad_tiles) == sorted(once.bad_tiles)
    assert out.read_bytes() == (tmp_path / 'whole.tif').read_bytes()


def test_what_would_end_the_run_late_is_said_at_its_start(scene, tmp_path):
    out = tmp_path / 'out.tif'
    out.touch()
    with pytest.raises(RasterError, match='--overwrite'):
        start_bands(scene, predictor(), out, SceneOptions())
    with pytest.raises(RasterError, match='no ending of a vector format'):
        start_bands(scene, predictor(), tmp_path / 'a.tif', SceneOptions(vector='a.doc'))
    assert not Journal(tmp_path / 'a.tif', '').folder.exists()


def test_the_journal_of_another_run_is_not_added_to(scene, tmp_path):
    out = tmp_path / 'out.tif'
    band, *_ = start_bands(scene, predictor(), out, SceneOptions(tile=64))
    with pytest.raises(RasterError, match='--split-rows 0'):
        predict_band(scene, predictor(), out, SceneOptions(tile=64, batch=1), band)
    with pytest.raises(RasterError, match='--split-rows 0'):
        predict_band(scene, predictor(), tmp_path / 'other.tif', SceneOptions(tile=64), band)
