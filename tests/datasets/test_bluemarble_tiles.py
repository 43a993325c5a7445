# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crossearth.datasets.bluemarble import CLIMATE_ZONES, COVER_CLASSES
from crossearth.datasets.bluemarble_tiles import (
    DOMAINS,
    OCEAN,
    ZONES,
    Rasters,
    Recipe,
    Tile,
    cut,
    plan,
    thin,
)

SMALL = Recipe(tile_px=6, pixel_deg=1, stride_px=2, min_land=0.2, min_domain=0.2)


def world(heights: tuple[int, int, int], seed: int) -> Rasters:
    """Noise at three resolutions: a change of a pixel that is read shows in the tile."""
    rng = np.random.default_rng(seed)
    image, cover, zone = heights
    zones = [ZONES.index('Af') + 1, ZONES.index('BSk') + 1]
    return Rasters(rng.integers(0, 256, (image, 2 * image, 3), np.uint8),
                   rng.integers(0, 17, (cover, 2 * cover), np.uint8),
                   rng.choice(zones, (zone, 2 * zone)).astype(np.uint8))


def scramble(raster: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Another valid value in each pixel of some columns."""
    changed = raster.copy()
    changed[:, columns] = changed[::-1, columns] // 2 + 1
    return changed


@settings(max_examples=30, deadline=None)
@given(heights=st.tuples(*[st.integers(90, 240)] * 3), tile=st.integers(3, 12),
       stride=st.integers(1, 4), north=st.integers(-45, 60), seed=st.integers(0, 99))
def test_splits_share_no_source_pixel(
        heights: tuple[int, int, int], tile: int, stride: int, north: int, seed: int) -> None:
    """A tile is bit-equal when every source pixel in the blocks of the other split changes."""
    recipe = replace(SMALL, tile_px=tile, stride_px=stride, north_deg=north,
                     south_deg=north - tile - 1)
    rasters = world(heights, seed)
    # only tiles near the edge of a block can see across it
    tiles = [t for t in plan(rasters, recipe) if not recipe.split_of(t.west - 5, t.east + 5)]
    assume(len({t.split for t in tiles}) == 2)
    for split in ('train', 'test'):
        altered = []
        for raster in (rasters.image, rasters.cover, rasters.zone):
            width = raster.shape[1]
            block = np.floor(((np.arange(width) + 0.5) / width * 360 - 180) / 15)
            altered.append(scramble(raster, np.isin(block, recipe.test_columns) == (
                split == 'train')))
        for chosen in (t for t in tiles if t.split == split):
            for before, after in zip(cut(rasters, chosen, tile),
                                     cut(Rasters(*altered), chosen, tile), strict=True):
                np.testing.assert_array_equal(before, after)


def test_plan_keeps_land_of_one_domain() -> None:
    rasters = world((180, 180, 180), 0)
    rasters.cover[:, :180] = 0  # the western half is water
    rasters.zone[:] = ZONES.index('Af') + 1
    rasters.zone[:90] = ZONES.index('EF') + 1  # a zone of no domain in the north
    tiles = plan(rasters, replace(SMALL, min_land=0.9, min_domain=1))
    assert {tile.domain for tile in tiles} == {'tropical_rainforest'}
    assert min(tile.west for tile in tiles) >= -0.7  # 90 % of its width is land
    assert max(tile.north for tile in tiles) <= 0


def test_tiles_are_locally_square() -> None:
    for tile in plan(world((90, 90, 90), 0), SMALL)[::50]:
        middle = np.radians((tile.north + tile.south) / 2)
        assert (tile.east - tile.west) * np.cos(middle) == pytest.approx(tile.north - tile.south)


@pytest.mark.parametrize(('west', 'east', 'split'), [
    (-30, -15, 'test'), (0.1, 29.9, 'train'), (29.9, 30.1, None), (31, 59.9, 'test'),
    (89.9, 91, None), (-180, -31, 'train'), (119.9, 120, None)])
def test_split_of(west: float, east: float, split: str | None) -> None:
    assert Recipe().split_of(west, east) == split


def test_image_is_bilinear() -> None:
    """OpenCV is the oracle: a tile on the equator is a resized window of the source."""
    rasters = world((180, 90, 90), 3)
    tile = Tile('train', 'arid', north=4, west=10, south=-4, east=18)
    image, _ = cut(rasters, tile, 32)
    # the window has 2 more pixels on each side, so that no sample touches its border
    window = cv2.resize(rasters.image[84:96, 188:200], None, fx=4, fy=4)[8:-8, 8:-8]
    assert np.abs(image.astype(int) - window).max() <= 1


def test_label_is_cover_in_the_domain_and_ocean() -> None:
    desert, ocean, other = (ZONES.index(name) + 1 for name in ('BWk', 'Ocean', 'Af'))
    cover = np.repeat([[0, 1, 10, 11, 16, 0, 10, 0]], 4, 0).astype(np.uint8)
    zone = np.repeat([[desert] * 5 + [ocean, ocean, other]], 4, 0).astype(np.uint8)
    rasters = Rasters(np.zeros((4, 8, 3), np.uint8), cover, zone)
    _, label = cut(rasters, Tile('train', 'arid', 90, -180, -90, 180), 8)
    assert label[0].tolist() == [0, 1, 3, 255, 5, 0, 255, 255]
    assert ocean == OCEAN


def test_thin_spreads_evenly() -> None:
    tiles = [Tile(split, 'arid', 90 - i, 0, 0, 0) for split in ('test', 'train') for i in range(10)]
    kept = thin(tiles, Recipe(max_train=3, max_test=99))
    assert [tile.north for tile in kept if tile.split == 'train'] == [90, 87, 84]
    assert sum(tile.split == 'test' for tile in kept) == 10


def test_names_tell_the_corner() -> None:
    names = [Tile('test', 'arid', *corner, 0, 0).name for corner in ((47.2, 113.456), (-3.05, -7))]
    assert names == ['N4720E11346', 'S0305W00700']


def test_zones_and_codes_belong_to_one_name_each() -> None:
    zones = [zone for group in CLIMATE_ZONES.values() for zone in group]
    codes = [code for group in COVER_CLASSES.values() for code in group]
    assert set(ZONES) - set(zones) == {'Cwc', 'Dwd', 'EF', 'ET', 'Ocean'}
    assert set(range(17)) - set(codes) == {11, 13}
    assert len(zones) == len(set(zones)) == 27
    assert len(codes) == len(set(codes))
    assert len(DOMAINS) == 9
