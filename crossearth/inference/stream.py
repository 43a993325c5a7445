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
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Rows]:
    """Segment a raster, top to bottom.

    Args:
        reader: The raster.
        predictor: The network.
        tile: Side of a tile in px.
        overlap: Least overlap of neighbouring tiles in px.
        batch: Tiles scored at once.
        workers: Reading threads.
        progress: Called with the tiles done and the number of tiles.

    Yields:
        Rows in order, without gaps, until the last.

    Raises:
        OutOfTileMemoryError: A single tile is too large for the device.
        ConfigError: Tile and overlap do not fit together.
    """
    bands = plan_rows(reader.height, reader.width, tile, overlap)
    blender = BandBlender(predictor.num_classes, reader.height, reader.width, tile, overlap)
    jobs = [(band, window) for band, windows in enumerate(bands) for window in windows]
    with ThreadPoolExecutor(workers, thread_name_prefix='read') as pool:
        tiles = _read_ahead(pool, reader, jobs, ahead=2 * batch + workers)
        for done, (band, window, found, scores) in enumerate(_score(tiles, predictor, batch), 1):
            while blender.band < band:
                yield _rows(*blender.finish_row())
            if scores is not None:
                blender.add(window, scores, found.valid)
            if progress:
                progress(done, len(jobs))
    yield _rows(*blender.finish_row())


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
    group: list[tuple[int, Window, Tile]] = []
    images: list[np.ndarray] = []
    for item in itertools.chain(tiles, [None]):
        if item is not None:
            group.append(item)
            images += [item[2].image] if item[2].valid.any() else []
        # a run of tiles without data is passed on too: it would fill the memory
        if item is None or len(images) == batch or len(group) == EMPTY_RUN * batch:
            scores = iter(predictor(np.stack(images)) if images else ())
            for band, window, found in group:
                yield band, window, found, next(scores) if found.valid.any() else None
            group, images = [], []


def _rows(first: int, scores: np.ndarray, valid: np.ndarray) -> Rows:
    return Rows(first, np.where(valid, scores.argmax(0), NO_DATA).astype(np.uint8), scores)
