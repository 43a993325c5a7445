# SPDX-License-Identifier: Apache-2.0
"""One raster -> its map: the plan, the run and the report."""

import os
import shutil
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from crossearth import __version__
from crossearth.errors import RasterError
from crossearth.inference.journal import Journal, fingerprint
from crossearth.inference.predictor import OutOfTileMemoryError, Predictor
from crossearth.inference.raster import RasterReader, open_raster
from crossearth.inference.stream import NO_DATA, Rows, predict_rows
from crossearth.inference.tiling import PIECE, plan_rows
from crossearth.inference.writer import BLOCK, RasterWriter, write_style

__all__ = [
    'MIN_TILE', 'Plan', 'PredictOptions', 'PredictionReport', 'gdal_cache', 'output_planes', 'plan',
    'predict_raster', 'run_key']

MIN_TILE = 64  # px, the floor of the ladder when memory runs out
CACHE = 64_000_000  # bytes, of GDAL's decoded blocks
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
        resume: Keep finished rows beside the map, and go on from those of an interrupted run.
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
    resume: bool = False
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
    # sums and masks of a band; three pieces of finished rows and what is made of them; tiles read
    # ahead; rows waiting for their block; blocks that GDAL keeps
    scores = 4 * (num_classes + 2) * high * reader.width
    pieces = 4 * (3 * num_classes + 8) * PIECE * reader.width
    tiles = 4 * 3 * (3 * options.batch + options.workers) * high * wide
    files = 1 + bool(options.confidence) + num_classes * bool(options.scores)
    # a COG is a copy of the plain file, and overviews add a third; finished rows are kept besides
    copies = (2.4 if options.cog else 1) + options.resume
    folder = next(p for p in Path(output).absolute().parents if p.is_dir())
    return Plan(
        tiles=sum(len(band) for band in bands),
        memory_bytes=scores + pieces + tiles + 2 * files * BLOCK * reader.width
        + _cache_bytes(reader, options),
        disk_bytes=int(files * reader.height * reader.width * copies),
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
    journal = None
    if options.resume:
        journal = Journal(Path(output), run_key(reader, predictor, options))
        if tiling := journal.tiling():  # smaller than asked for, when memory ran out
            options = replace(options, tile=tiling[0], overlap=tiling[1])
        else:
            journal.start(options.tile, options.shared)
    while True:
        try:
            tally = _run(
                reader, predictor, Path(output), classes, palette, options, journal, progress)
            break
        except OutOfTileMemoryError:
            options = _smaller(options, reader)
            if journal:
                journal.start(options.tile, options.shared)
            warnings.append(f'The memory is too small for such tiles: started again with tiles of '
                            f'{options.tile} px.')
            if warn:
                warn(warnings[-1])
    outputs = {'map': str(output), 'style': str(write_style(Path(output), classes, palette))}
    for kind in ('confidence', 'scores'):
        if path := getattr(options, kind):
            outputs[kind] = str(path)
    return PredictionReport(
        outputs=outputs, tiles=tally.tiles, tile=options.tile,
        bad_tiles=tuple(dict.fromkeys(reader.bad_tiles)),
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

    def add(self, first: int, label: np.ndarray) -> None:
        """Count finished rows."""
        # row by row: the area of a pixel depends on its row. Faster than a histogram
        counts = np.array([[np.count_nonzero(row) for row in label == value]
                           for value in (*range(len(self.pixels) - 1), NO_DATA)])
        self.pixels += counts.sum(1)
        areas = self.reader.row_areas(first, len(label))
        if self.areas is not None and areas is not None:
            self.areas += counts[:-1] @ areas


def run_key(reader: RasterReader, predictor: Predictor, options: PredictOptions) -> str:
    """Fingerprint of whatever decides the bytes of a map."""
    path = Path(reader.info.path)
    stat = path.stat() if path.is_file() else None
    scorer = predictor.scorer
    return fingerprint({
        'version': __version__,
        'source': [str(path.absolute()) if stat else reader.info.path,
                   stat and stat.st_size, stat and stat.st_mtime_ns],
        'reader': [reader.bands, reader.scale, asdict(reader.grid), reader.aoi,
                   reader.on_bad_tile],
        'model': [getattr(predictor.card, 'sha256', None), predictor.tta, type(scorer).__name__,
                  getattr(scorer, 'amp', None), getattr(scorer, 'device', None)],
        'options': [options.tile, options.shared, options.batch, bool(options.confidence),
                    bool(options.scores)]})


def _run(
    reader: RasterReader,
    predictor: Predictor,
    output: Path,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    options: PredictOptions,
    journal: Journal | None,
    progress: Callable[[int, int], None] | None,
) -> _Tally:
    """Predict and write."""
    tally = _Tally(reader, len(classes))
    reader.bad_tiles.clear()
    start = 0

    def count(done: int, total: int) -> None:
        tally.tiles = done
        if progress:
            progress(done, total)

    with ExitStack() as stack:
        stack.enter_context(gdal_cache(reader, options))
        # the map is entered first, so it is left and named last: where it is, the others are too
        writers = {kind: stack.enter_context(writer) for kind, writer in _writers(
            reader, output, classes, palette, options).items()}

        def write(first: int, planes: Mapping[str, np.ndarray]) -> None:
            for kind, writer in writers.items():
                writer.write(first, planes[kind])
            tally.add(first, planes['map'][0])

        def keep(part: Rows) -> None:
            planes = output_planes(part, writers)
            if journal:
                journal.append(part.first, planes, reader.bad_tiles)
            write(part.first, planes)

        for first, planes, bad_tiles in journal.parts() if journal else ():
            write(first, planes)
            reader.bad_tiles[:] = dict.fromkeys([*reader.bad_tiles, *bad_tiles])
            start = first + planes['map'].shape[1]
        _consume(predict_rows(
            reader, predictor, options.tile, options.shared, batch=options.batch,
            workers=options.workers, first_row=start, progress=count), keep)
    if journal:
        journal.remove()
    return tally


def _cache_bytes(reader: RasterReader, options: PredictOptions) -> int:
    """Memory for GDAL's decoded blocks; its own choice is a share of the machine's.

    Of a file that is stored in strips as wide as itself, every tile of a band reads the same ones.
    """
    with open_raster(reader.info.path, reader.remote) as file:
        width, size = file.width, np.dtype(file.dtypes[0]).itemsize
        if file.block_shapes[0][1] < width:
            return CACHE
        rows = min(options.tile / reader.factor[0], file.height)
    return CACHE + int((options.workers + 1) * rows * width * file.count * size)


def gdal_cache(reader: RasterReader, options: PredictOptions) -> Any:
    """Set the size of GDAL's cache, unless the user did."""
    import rasterio

    if 'GDAL_CACHEMAX' in os.environ:
        return nullcontext()
    return rasterio.Env(GDAL_CACHEMAX=_cache_bytes(reader, options))


def _writers(
    reader: RasterReader,
    output: Path,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    options: PredictOptions,
) -> dict[str, RasterWriter]:
    """The writer of each kind of output."""
    tags = {'classes': ', '.join(f'{n}={name}' for n, name in enumerate(classes)), **options.tags}
    common: dict[str, Any] = {'cog': options.cog, 'overwrite': options.overwrite, 'tags': tags}
    writers = {'map': RasterWriter(output, reader.grid, colors=palette, **common)}
    if options.confidence:
        writers['confidence'] = RasterWriter(
            options.confidence, reader.grid, bands=['confidence, %'], **common)
    if options.scores:
        writers['scores'] = RasterWriter(
            options.scores, reader.grid, bands=[f'{name}, %' for name in classes], **common)
    return writers


def output_planes(rows: Rows, kinds: Container[str]) -> dict[str, np.ndarray]:
    """What is written of finished rows, (bands, rows, width) uint8 by kind of output."""
    planes = {'map': rows.label[None]}
    if 'confidence' in kinds:
        planes['confidence'] = _percent(rows.confidence()[None], rows.label)
    if 'scores' in kinds:
        shares = rows.scores / np.maximum(rows.scores.sum(0), 1e-12)
        planes['scores'] = _percent(shares, rows.label)
    return planes


def _percent(shares: np.ndarray, label: np.ndarray) -> np.ndarray:
    return np.where(label == NO_DATA, NO_DATA, np.rint(shares * PERCENT)).astype(np.uint8)


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
