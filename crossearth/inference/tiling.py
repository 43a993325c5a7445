# SPDX-License-Identifier: Apache-2.0
"""Cut a raster of any size into overlapping tiles, and blend their scores without seams.

A raster is worked through in row bands: all windows of one band start at the same row. Only the
rows that later bands still touch are held, so memory grows with width x tile height, not with the
raster's area.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from crossearth.errors import ConfigError

__all__ = ['BandBlender', 'Window', 'blend_shares', 'plan_rows', 'tile_starts']

# Least weight of a pixel at a tile's border: far above float32's rounding, far below any other.
MIN_WEIGHT = 1e-3
PIECE = 64  # rows that are finished at once


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels inside a raster.

    Args:
        row: First row.
        col: First column.
        height: Number of rows.
        width: Number of columns.
    """

    row: int
    col: int
    height: int
    width: int


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles start along one axis, so that every pixel is covered.

    Args:
        length: Pixels of the axis.
        tile: Pixels of a tile.
        overlap: Least number of pixels that neighbours share.

    Returns:
        Ascending starts; the last tile ends at `length` (it overlaps more). `[0]` where the axis is
        no longer than a tile.

    Raises:
        ConfigError: The numbers make no tiling.
    """
    if length < 1 or tile < 1 or not 0 <= overlap < tile:
        raise ConfigError(
            f'tile={tile} and overlap={overlap} do not tile {length} px: a tile needs at least one '
            'pixel, and the overlap must be smaller than the tile.')
    if length <= tile:
        return [0]
    return [*range(0, length - tile, tile - overlap), length - tile]


def plan_rows(height: int, width: int, tile: int, overlap: int) -> list[list[Window]]:
    """All windows of a raster, one list for each row band, top to bottom and left to right.

    Args:
        height: Rows of the raster.
        width: Columns of the raster.
        tile: Side of a tile; a raster that is smaller along an axis gives a smaller window there.
        overlap: Least number of pixels that neighbouring windows share.

    Raises:
        ConfigError: See `tile_starts`.
    """
    high, wide = min(tile, height), min(tile, width)
    columns = tile_starts(width, tile, overlap)
    return [[Window(row, col, high, wide) for col in columns]
            for row in tile_starts(height, tile, overlap)]


def blend_shares(length: int, tile: int, overlap: int) -> dict[int, np.ndarray]:
    """How much each tile counts along one axis: a raised cosine, highest in its middle, never zero.

    Scores near a tile's border lack context on one side; their share falls smoothly, so that no
    seam shows where a tile ends. A pixel's share is the product of its row's and its column's.

    Args:
        length: As of `tile_starts`.
        tile: As of `tile_starts`.
        overlap: As of `tile_starts`.

    Returns:
        By the tile's start, (min(tile, length),) float32 above 0; those of all tiles add up to one
        at every pixel.

    Raises:
        ConfigError: See `tile_starts`.
    """
    starts = tile_starts(length, tile, overlap)
    side = min(tile, length)
    weights = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(side) + 0.5) / side)
    weights = np.maximum(weights, MIN_WEIGHT)
    totals = np.zeros(length)
    for start in starts:
        totals[start:start + side] += weights
    return {start: (weights / totals[start:start + side]).astype(np.float32) for start in starts}


class BandBlender:
    """Average the scores of overlapping windows, band by band.

    Call `add` for every window of a band (one that is left out holds no valid pixel), then
    `finish_rows`, which hands out the rows that no later band touches.

    Args:
        num_classes: K.
        height: Rows of the raster.
        width: Columns of the raster.
        tile: As of `plan_rows`.
        overlap: As of `plan_rows`.

    Raises:
        ConfigError: See `tile_starts`.
    """

    def __init__(
        self, num_classes: int, height: int, width: int, tile: int, overlap: int
    ) -> None:
        self.starts = tile_starts(height, tile, overlap)
        self.height = height
        self.band = 0
        self.row_shares = blend_shares(height, tile, overlap)
        self.column_shares = blend_shares(width, tile, overlap)
        high = min(tile, height)
        self.sums = np.zeros((num_classes, high, width), np.float32)
        self.valid = np.zeros((high, width), bool)

    def add(self, window: Window, scores: np.ndarray, valid: np.ndarray) -> None:
        """Add one window of the current band.

        Args:
            window: One of the band's windows.
            scores: (K, window.height, window.width) float32.
            valid: (window.height, window.width) bool, False where the raster holds no data.
        """
        columns = slice(window.col, window.col + window.width)
        shares = np.outer(self.row_shares[window.row], self.column_shares[window.col])
        for sums, score in zip(self.sums[..., columns], scores, strict=True):
            sums += score * shares  # one class at a time: the product stays in the cache
        self.valid[:, columns] |= valid

    def finish_rows(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Close the current band.

        Yields:
            In pieces of at most 64 rows, so that little is held twice: their first row, their mean
            scores (K, rows, width), and which of their pixels are valid (rows, width). A window
            that was left out counts as scores of zero. Together they reach to where the next band
            starts, or to the end.
        """
        start = self.starts[self.band]
        last = self.band + 1 == len(self.starts)
        rows = (self.height if last else self.starts[self.band + 1]) - start
        self.band += 1
        for first in range(0, rows, PIECE):
            piece = slice(first, min(first + PIECE, rows))
            yield start + first, self.sums[:, piece].copy(), self.valid[piece].copy()
        for array in (self.sums, self.valid):
            kept = array.shape[-2] - rows
            array[..., :kept, :] = array[..., rows:, :]
            array[..., kept:, :] = 0
