# SPDX-License-Identifier: Apache-2.0
"""One raster -> its map: the plan, the run and the report."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from crossearth.errors import RasterError
from crossearth.inference.predictor import OutOfTileMemoryError, Predictor
from crossearth.inference.raster import RasterReader
from crossearth.inference.stream import NO_DATA, Rows, predict_rows
from crossearth.inference.tiling import plan_rows
from crossearth.inference.writer import RasterWriter, write_style

__all__ = ['MIN_TILE', 'Plan', 'PredictOptions', 'PredictionReport', 'plan', 'predict_raster']

MIN_TILE = 64  # px, the floor of the ladder when memory runs out
PERCENT = 100  # confidence and scores are stored as whole percents


@dataclass(frozen=True)
class PredictOptions:
    """How a raster is mapped.

    Args:
        tile: Side of a tile in px.
        overlap: Least overlap of neighbouring tiles in px; None takes a quarter of the tile.
        batch: Tiles scored at once.
        workers: Reading threads.
        cog: Write a Cloud Optimized GeoTIFF.
        overwrite: Replace existing files.
        confidence: File for the winner's share of the scores, in percent.
        scores: File for the share of every class, in percent, one band for each.
        tags: Text to keep in the map.
    """

    tile: int = 512
    overlap: int | None = None
    batch: int = 4
    workers: int = 2
    cog: bool = False
    overwrite: bool = False
    confidence: str | Path | None = None
    scores: str | Path | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def shared(self) -> int:
        """The overlap in px."""
        return self.tile // 4 if self.overlap is None else self.overlap


@dataclass(frozen=True)
class Plan:
    """What a run will need, known before it starts.

    Args:
        tiles: Number of tiles, those without data included.
        memory_bytes: Main memory for scores and tiles, without the network.
        disk_bytes: Most that the outputs can take.
        free_bytes: What is free where they go.
    """

    tiles: int
    memory_bytes: int
    disk_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class PredictionReport:
    """What a run did.

    Args:
        outputs: The files, by kind: `map`, `style`, `confidence`, `scores`.
        tiles: Tiles read.
        tile: Side of a tile in px; smaller than asked for when memory ran out.
        bad_tiles: Why tiles were left empty that could not be read.
        seconds: Duration.
        pixels: Pixels of each class, and `no data`.
        square_metres: Area of each class, where the raster says how large a pixel is.
        warnings: What a user should know.
    """

    outputs: Mapping[str, str]
    tiles: int
    tile: int
    bad_tiles: Sequence[str]
    seconds: float
    pixels: Mapping[str, int]
    square_metres: Mapping[str, float] | None
    warnings: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def plan(
    reader: RasterReader, num_classes: int, output: str | Path, options: PredictOptions
) -> Plan:
    """Estimate memory and disk of a run.

    Args:
        reader: The raster.
        num_classes: K.
        output: The map's file.
        options: How it is mapped.
    """
    high, wide = min(options.tile, reader.height), min(options.tile, reader.width)
    bands = plan_rows(reader.height, reader.width, options.tile, options.shared)
    # sums, their mean and the weights of a band; tiles read ahead; rows waiting for their block
    scores = 4 * (2 * num_classes + 2) * high * reader.width
    tiles = 4 * 3 * (3 * options.batch + options.workers) * high * wide
    files = 1 + bool(options.confidence) + num_classes * bool(options.scores)
    pixels = reader.height * reader.width
    folder = next(p for p in Path(output).absolute().parents if p.is_dir())
    return Plan(
        tiles=sum(len(band) for band in bands),
        memory_bytes=scores + tiles + 2 * files * 512 * reader.width,
        # a COG is a copy of the plain file, and overviews add a third
        disk_bytes=int(files * pixels * (2.4 if options.cog else 1)),
        free_bytes=shutil.disk_usage(folder).free)


def predict_raster(
    reader: RasterReader,
    predictor: Predictor,
    output: str | Path,
    *,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    options: PredictOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> PredictionReport:
    """Map one raster.

    When a single tile does not fit into the device's memory, the run starts again with half the
    tile, down to 64 px; the map then equals that of a run started at that size.

    Args:
        reader: The raster.
        predictor: The network.
        output: File of the map, GeoTIFF.
        classes: Names of the classes.
        palette: Their colours.
        options: How it is mapped.
        progress: Called with the tiles done and their number.
        warn: Called with a sentence when something was done otherwise than asked for.

    Raises:
        RasterError: The raster cannot be read, an output exists or cannot be written, or even the
            smallest tile does not fit into memory.
    """
    started = time.perf_counter()
    options = options or PredictOptions()
    warnings = list(reader.info.warnings)
    reader.preflight()
    while True:
        try:
            tally = _run(reader, predictor, Path(output), classes, palette, options, progress)
            break
        except OutOfTileMemoryError:
            options = _smaller(options, reader)
            warnings.append(f'The memory is too small for such tiles: started again with tiles of '
                            f'{options.tile} px.')
            if warn:
                warn(warnings[-1])
    outputs = {'map': str(output), 'style': str(write_style(Path(output), classes, palette))}
    for kind in ('confidence', 'scores'):
        if path := getattr(options, kind):
            outputs[kind] = str(path)
    return PredictionReport(
        outputs=outputs, tiles=tally.tiles, tile=options.tile, bad_tiles=tuple(reader.bad_tiles),
        seconds=time.perf_counter() - started,
        pixels=dict(zip((*classes, 'no data'), map(int, tally.pixels), strict=True)),
        square_metres=None if tally.areas is None else dict(
            zip(classes, map(float, tally.areas), strict=True)),
        warnings=tuple(warnings))


class _Tally:
    """What has been mapped so far: tiles, pixels of each class and without data, areas in m2."""

    def __init__(self, reader: RasterReader, num_classes: int) -> None:
        self.reader = reader
        self.tiles = 0
        self.pixels = np.zeros(num_classes + 1, np.int64)
        self.areas = None if reader.row_areas(0, 1) is None else np.zeros(num_classes)

    def add(self, part: Rows) -> None:
        """Count finished rows."""
        classes = len(self.pixels) - 1
        # one histogram for each row: the area of a pixel depends on its row
        shifted = part.label + (NO_DATA + 1) * np.arange(len(part.label))[:, None]
        counts = np.bincount(shifted.ravel(), minlength=(NO_DATA + 1) * len(part.label))
        counts = counts.reshape(-1, NO_DATA + 1)
        self.pixels[:-1] += counts[:, :classes].sum(0)
        self.pixels[-1] += counts[:, NO_DATA].sum()
        areas = self.reader.row_areas(part.first, len(counts))
        if self.areas is not None and areas is not None:
            self.areas += areas @ counts[:, :classes]


def _run(
    reader: RasterReader,
    predictor: Predictor,
    output: Path,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    options: PredictOptions,
    progress: Callable[[int, int], None] | None,
) -> _Tally:
    """Predict and write."""
    tally = _Tally(reader, len(classes))
    reader.bad_tiles.clear()

    def count(done: int, total: int) -> None:
        tally.tiles = done
        if progress:
            progress(done, total)

    with ExitStack() as stack:
        map_file, *others = _writers(reader, output, classes, palette, options)
        map_writer = stack.enter_context(map_file)
        writers = [(stack.enter_context(writer), values) for writer, values in others]
        rows = predict_rows(reader, predictor, options.tile, options.shared, batch=options.batch,
                            workers=options.workers, progress=count)

        def write(part: Rows) -> None:
            map_writer.write(part.first, part.label)
            for writer, values in writers:
                writer.write(part.first, values(part))
            tally.add(part)

        _consume(rows, write)
    return tally


def _writers(
    reader: RasterReader,
    output: Path,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    options: PredictOptions,
) -> list[Any]:
    """The map's writer, and pairs of a writer and what it writes of finished rows."""
    tags = {'classes': ', '.join(f'{n}={name}' for n, name in enumerate(classes)), **options.tags}
    common: dict[str, Any] = {'cog': options.cog, 'overwrite': options.overwrite, 'tags': tags}
    writers: list[Any] = [RasterWriter(output, reader.grid, colors=palette, **common)]
    if options.confidence:
        writers.append((RasterWriter(options.confidence, reader.grid,
                                     bands=['confidence, %'], **common), _confidence))
    if options.scores:
        writers.append((RasterWriter(options.scores, reader.grid,
                                     bands=[f'{name}, %' for name in classes], **common), _shares))
    return writers


def _confidence(rows: Rows) -> np.ndarray:
    return np.where(rows.label == NO_DATA, NO_DATA,
                    np.rint(rows.confidence() * PERCENT)).astype(np.uint8)


def _shares(rows: Rows) -> np.ndarray:
    shares = rows.scores / np.maximum(rows.scores.sum(0), 1e-12)
    return np.where(rows.label == NO_DATA, NO_DATA, np.rint(shares * PERCENT)).astype(np.uint8)


def _consume(rows: Iterator[Rows], write: Callable[[Rows], None]) -> None:
    """Write in a thread of its own, one part behind the prediction."""
    with ThreadPoolExecutor(1, thread_name_prefix='write') as pool:
        pending: Future[None] | None = None
        for part in rows:
            if pending:
                pending.result()
            pending = pool.submit(write, part)
        if pending:
            pending.result()


def _smaller(options: PredictOptions, reader: RasterReader) -> PredictOptions:
    """Half the tile, and half the overlap."""
    side = min(options.tile, max(reader.height, reader.width))
    tile = side // 2
    if tile < MIN_TILE:
        raise RasterError(
            f'Not even a tile of {side} px fits into memory. Close other programs, or give '
            '--device cpu if a graphics card is too small.')
    overlap = None if options.overlap is None else min(options.overlap // 2, tile - 1)
    return replace(options, tile=tile, overlap=overlap)
