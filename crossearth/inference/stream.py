# SPDX-License-Identifier: Apache-2.0
"""Reader -> network -> finished rows: reading and scoring overlap, and memory stays bounded."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from crossearth.inference.predictor import Predictor
from crossearth.inference.tiling import BandBlender, Window, plan_rows

__all__ = ['NO_DATA', 'Reader', 'Rows', 'Tile', 'predict_rows']

NO_DATA = 255
EMPTY_RUN = 4  # tiles held, in batches, while most of them hold no data


@dataclass(frozen=True)
class Tile:
    """The pixels of a window.

    Args:
        image: (C, h, w) uint8 or float32 in 0..255, finite everywhere.
        valid: (h, w) bool, False where the raster holds no data.
    """

    image: np.ndarray
    valid: np.ndarray


class Reader(Protocol):
    """What `predict_rows` needs of a raster; `read` is called from several threads."""

    height: int
    width: int

    def read(self, window: Window) -> Tile:
        """Read one window."""
        ...


@dataclass(frozen=True)
class Rows:
    """Finished rows of the map.

    Args:
        first: First row in the raster.
        label: (rows, width) uint8; 255 where the raster holds no data.
        scores: (K, rows, width) float32.
    """

    first: int
    label: np.ndarray
    scores: np.ndarray

    def confidence(self) -> np.ndarray:
        """The winner's share of all scores, (rows, width) float32; 0 without data."""
        share = self.scores.max(0) / np.maximum(self.scores.sum(0), 1e-12)
        return np.where(self.label == NO_DATA, 0, share).astype(np.float32)


def predict_rows(
    reader: Reader,
    predictor: Predictor,
    tile: int,
    overlap: int,
    *,
    batch: int = 4,
    workers: int = 2,
    first_row: int = 0,
    end_row: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Rows]:
    """Segment a raster, top to bottom.

    A batch holds tiles of one row band only. So a run that starts below the top puts the same tiles
    together as one from the top, and its rows are the same to the last bit.

    Args:
        reader: The raster.
        predictor: The network.
        tile: Side of a tile in px.
        overlap: Least overlap of neighbouring tiles in px.
        batch: Tiles scored at once.
        workers: Reading threads.
        first_row: Where to start: a row at which a part of an earlier run began, or the height.
        end_row: Where to stop: a row at which tiles start; None for the height.
        progress: Called with the tiles done and the number of tiles.

    Yields:
        Rows in order, without gaps, until `end_row`.

    Raises:
        OutOfTileMemoryError: A single tile is too large for the device.
        ConfigError: Tile and overlap do not fit together.
    """
    bands = plan_rows(reader.height, reader.width, tile, overlap)
    total = len(bands) * len(bands[0])
    if first_row == reader.height:
        if progress:
            progress(total, total)
        return
    blender = BandBlender(predictor.num_classes, reader.height, reader.width, tile, overlap)
    # a band above also adds to these rows where it reaches below their first
    blender.band = next(band for band, windows in enumerate(bands)
                        if windows[0].row + windows[0].height > first_row)
    skipped = blender.band * len(bands[0])
    end = reader.height if end_row is None else end_row
    jobs = [(band, window) for band, windows in enumerate(bands)
            if band >= blender.band and windows[0].row < end for window in windows]
    with ThreadPoolExecutor(workers, thread_name_prefix='read') as pool:
        tiles = _read_ahead(pool, reader, jobs, ahead=2 * batch + workers)
        scored = _score(tiles, predictor, batch)
        for done, (band, window, found, scores) in enumerate(scored, skipped + 1):
            while blender.band < band:
                yield from _rows(blender, first_row)
            if scores is not None:
                blender.add(window, scores, found.valid)
            if progress:
                progress(done, total)
    yield from _rows(blender, first_row)


Job = tuple[int, Window]


def _read_ahead(
    pool: ThreadPoolExecutor, reader: Reader, jobs: Iterable[Job], ahead: int
) -> Iterator[tuple[int, Window, Tile]]:
    """Tiles in the order of `jobs`, at most `ahead` of them in memory."""
    waiting: deque[tuple[Job, Future[Tile]]] = deque()
    jobs = iter(jobs)
    try:
        for job in itertools.chain(jobs, [None]):
            if job is not None:
                waiting.append((job, pool.submit(reader.read, job[1])))
            while waiting and (job is None or len(waiting) >= ahead):
                (band, window), future = waiting.popleft()
                yield band, window, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def _score(
    tiles: Iterable[tuple[int, Window, Tile]], predictor: Predictor, batch: int
) -> Iterator[tuple[int, Window, Tile, np.ndarray | None]]:
    """Add scores to the tiles, `batch` at once and in order; None for a tile without data."""
    for _, row in itertools.groupby(tiles, lambda item: item[0]):
        group: list[tuple[int, Window, Tile]] = []
        images: list[np.ndarray] = []
        for item in itertools.chain(row, [None]):
            if item is not None:
                group.append(item)
                images += [item[2].image] if item[2].valid.any() else []
            # a run of tiles without data is passed on too: it would fill the memory
            if item is None or len(images) == batch or len(group) == EMPTY_RUN * batch:
                scores = iter(predictor(np.stack(images, dtype=np.float32)) if images else ())
                for band, window, found in group:
                    yield band, window, found, next(scores) if found.valid.any() else None
                group, images = [], []


def _rows(blender: BandBlender, first_row: int) -> Iterator[Rows]:
    """The rows of a finished band, but those above the first that is wanted."""
    for first, scores, valid in blender.finish_rows():
        if first >= first_row:
            label = _best(scores)
            label[~valid] = NO_DATA
            yield Rows(first, label, scores)


def _best(scores: np.ndarray) -> np.ndarray:
    """`scores.argmax(0)` as uint8: a tenth of its time and an eighth of its memory."""
    best = scores[0].copy()
    label = np.zeros(best.shape, np.uint8)
    for number in range(1, len(scores)):
        won = (scores[number] > best).view(np.uint8) * np.uint8(number)
        np.maximum(label, won, out=label)  # numbers grow: a later winner replaces an earlier one
        np.maximum(best, scores[number], out=best)
    return label
