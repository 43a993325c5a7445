# SPDX-License-Identifier: Apache-2.0
"""One scene in row bands that several machines map; its map has the bytes of a single run.

The bands meet in the journal that `--resume` keeps beside the map: each machine leaves its finished
rows there, and `predict_scene` with `resume` then finds them all, as after an interruption.
"""

from dataclasses import replace
from pathlib import Path

from crossearth.errors import RasterError
from crossearth.inference.journal import Journal
from crossearth.inference.pipeline import gdal_cache, output_planes, run_key
from crossearth.inference.predictor import OutOfTileMemoryError, Predictor
from crossearth.inference.raster import RasterReader
from crossearth.inference.scene import SceneOptions, check_scene, open_scene
from crossearth.inference.stream import predict_rows
from crossearth.inference.tiling import tile_starts
from crossearth.inference.writer import RasterWriter

__all__ = ['cut_rows', 'predict_band', 'start_bands']

KINDS = ('map', 'confidence', 'scores')


def cut_rows(height: int, tile: int, overlap: int, rows: int) -> list[tuple[int, int]]:
    """Cut a raster where tiles start, into bands of `rows` or a little more.

    Args:
        height: Rows of the raster.
        tile: As of `plan_rows`.
        overlap: As of `plan_rows`.
        rows: Least number of rows of a band; what is left at the end may have fewer.

    Returns:
        First row and end of each band, top to bottom.
    """
    cuts = [0]
    for start in tile_starts(height, tile, overlap):
        if start - cuts[-1] >= rows:
            cuts.append(start)
    return list(zip(cuts, [*cuts[1:], height], strict=True))


def start_bands(
    source: str | Path,
    predictor: Predictor,
    output: str | Path,
    options: SceneOptions,
    *,
    rows: int | None = None,
    parts: int = 1,
) -> list[tuple[int, int]]:
    """Check a scene, make its journal ready, and cut it.

    Args:
        source: As of `predict_scene`.
        predictor: As of `predict_scene`.
        output: The map.
        options: How it is mapped.
        rows: Rows of a band; None for `parts` bands.
        parts: Number of bands.

    Returns:
        Bands as of `cut_rows`. Rows that an earlier run like this left are kept.

    Raises:
        CrossEarthError: As of `predict_scene`.
    """
    options = replace(options.fitted(predictor.card), resume=True)
    reader = check_scene(source, predictor, output, options)
    reader.preflight()
    for path in (output, options.confidence, options.scores):
        if path:
            RasterWriter(path, reader.grid, overwrite=options.overwrite)  # refuses what exists
    journal = _journal(reader, predictor, output, options)
    if not journal.tiling():
        journal.start(options.tile, options.shared)
    tile, overlap = journal.tiling() or (options.tile, options.shared)
    return cut_rows(reader.height, tile, overlap, rows or -(-reader.height // parts))


def predict_band(
    source: str | Path,
    predictor: Predictor,
    output: str | Path,
    options: SceneOptions,
    band: tuple[int, int],
) -> None:
    """Map one band into the journal.

    Where a tile does not fit into memory, rows stay missing: `predict_scene` makes them.

    Args:
        source: As of `start_bands`.
        predictor: As of `start_bands`.
        output: As of `start_bands`.
        options: As of `start_bands`.
        band: One of its bands.

    Raises:
        RasterError: The scene cannot be read, or the journal is that of another run.
    """
    options = options.fitted(predictor.card)
    reader = open_scene(source, predictor.card, options)
    journal = _journal(reader, predictor, output, options)
    if not (tiling := journal.tiling()):
        raise RasterError(
            f'{journal.folder} is not there or of another run. Check that all machines share that '
            'folder, have the same version of crossearth and compute on the same kind of device '
            '(--device); --split-rows 0 does without it.')
    first, end = band
    for start, planes, _ in journal.parts(first):
        first = start + planes['map'].shape[1]
    if first >= end:
        return
    kinds = [kind for kind in KINDS if kind == 'map' or getattr(options, kind)]
    try:
        with gdal_cache(reader, options):
            for part in predict_rows(
                    reader, predictor, *tiling, batch=options.batch, workers=options.workers,
                    first_row=first, end_row=end):
                journal.append(part.first, output_planes(part, kinds), reader.bad_tiles)
    except OutOfTileMemoryError:
        return


def _journal(
    reader: RasterReader, predictor: Predictor, output: str | Path, options: SceneOptions
) -> Journal:
    return Journal(Path(output), run_key(reader, predictor, options))
