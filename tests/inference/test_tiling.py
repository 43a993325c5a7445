# SPDX-License-Identifier: Apache-2.0
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossearth.errors import ConfigError
from crossearth.inference.tiling import (
    BandBlender,
    Window,
    blend_shares,
    plan_rows,
    tile_starts,
)

law = settings(deadline=None, max_examples=50)  # a busy machine is no counterexample


@st.composite
def tilings(draw: st.DrawFn) -> tuple[int, int, int, int]:
    tile = draw(st.integers(1, 12))
    sizes = st.one_of(st.sampled_from([1, max(tile - 1, 1), tile, tile + 1]), st.integers(1, 41))
    return draw(sizes), draw(sizes), tile, draw(st.integers(0, tile - 1))


def blended(scores: np.ndarray, tile: int, overlap: int) -> np.ndarray:
    """The scores of a model whose output at a pixel depends on that pixel only."""
    _, height, width = scores.shape
    blender = BandBlender(len(scores), height, width, tile, overlap)
    parts = []
    for band in plan_rows(height, width, tile, overlap):
        for w in band:
            place = np.s_[:, w.row:w.row + w.height, w.col:w.col + w.width]
            blender.add(w, scores[place], np.ones((w.height, w.width), bool))
        for first, rows, valid in blender.finish_rows():
            assert valid.all()
            assert first == sum(part.shape[1] for part in parts)
            parts.append(rows)
    return np.concatenate(parts, axis=1)


def whole_raster_blend(tiles: dict[Window, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The plain formula in float64 on whole-raster arrays."""
    sums, totals = np.zeros(shape), np.zeros(shape[1:])
    for w, scores in tiles.items():
        place = np.s_[w.row:w.row + w.height, w.col:w.col + w.width]
        weights = np.outer(*(np.maximum(np.sin(np.pi * (np.arange(side) + 0.5) / side)**2, 1e-3)
                             for side in (w.height, w.width)))
        sums[(slice(None), *place)] += scores * weights
        totals[place] += weights
    return sums / totals


@law
@given(tilings())
def test_windows_cover_every_pixel_and_stay_inside(tiling):
    height, width, tile, overlap = tiling
    count = np.zeros((height, width), int)
    for band in plan_rows(height, width, tile, overlap):
        for w in band:
            assert min(w.row, w.col) >= 0
            view = count[w.row:w.row + w.height, w.col:w.col + w.width]
            assert view.shape == (w.height, w.width)  # else it reaches beyond the raster
            view += 1
    assert count.min() >= 1


@law
@given(st.integers(1, 200), st.integers(1, 50), st.data())
def test_neighbours_share_at_least_the_overlap(length, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    starts = tile_starts(length, tile, overlap)
    assert all(0 < b - a <= tile - overlap for a, b in itertools.pairwise(starts))
    assert starts[-1] + min(tile, length) == length


@law
@given(tilings(), st.integers(0, 2**32 - 1))
def test_a_pixelwise_model_gives_back_its_own_scores_everywhere(tiling, seed):
    height, width, tile, overlap = tiling
    classes = np.random.default_rng(seed).integers(0, 3, (height, width))
    one_hot = (np.arange(3)[:, None, None] == classes).astype(np.float32)
    result = blended(one_hot, tile, overlap)
    np.testing.assert_array_equal(result.argmax(0), classes)
    np.testing.assert_allclose(result, one_hot, atol=1e-6)


@law
@given(tilings(), st.integers(0, 2**32 - 1))
def test_streaming_bands_equals_blending_the_whole_raster(tiling, seed):
    height, width, tile, overlap = tiling
    rng = np.random.default_rng(seed)
    bands = plan_rows(height, width, tile, overlap)
    tiles = {w: rng.random((2, w.height, w.width), np.float32) for band in bands for w in band}
    blender, parts = BandBlender(2, height, width, tile, overlap), []
    for band in bands:
        for w in band:
            blender.add(w, tiles[w], np.ones((w.height, w.width), bool))
        parts += [rows for _, rows, _ in blender.finish_rows()]
    expected = whole_raster_blend(tiles, (2, height, width))
    np.testing.assert_allclose(np.concatenate(parts, axis=1), expected, atol=1e-5)


@law
@given(tilings())
def test_shares_are_positive_and_add_up_to_one_at_every_pixel(tiling):
    length, _, tile, overlap = tiling
    shares = blend_shares(length, tile, overlap)
    assert list(shares) == tile_starts(length, tile, overlap)
    total = np.zeros(length)
    for start, share in shares.items():
        assert share.min() > 0
        total[start:start + len(share)] += share
    np.testing.assert_allclose(total, 1, rtol=1e-6)


def test_a_window_left_out_scores_zero_and_is_not_valid():
    blender = BandBlender(2, 4, 8, 4, 0)
    blender.add(Window(0, 0, 4, 4), np.ones((2, 4, 4), np.float32), np.eye(4, dtype=bool))
    [(_, scores, valid)] = blender.finish_rows()
    assert scores[..., :4].min() == 1
    assert scores[..., 4:].max() == 0
    np.testing.assert_array_equal(valid, np.hstack([np.eye(4, dtype=bool), np.zeros((4, 4))]))


@pytest.mark.parametrize(('length', 'tile', 'overlap'), [(10, 4, 4), (10, 4, -1), (10, 0, 0),
                                                         (0, 4, 1)])
def test_an_impossible_tiling_is_refused(length, tile, overlap):
    with pytest.raises(ConfigError, match='do not tile'):
        tile_starts(length, tile, overlap)
