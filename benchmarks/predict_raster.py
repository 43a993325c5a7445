# SPDX-License-Identifier: Apache-2.0
"""What the pipeline of `crossearth predict` costs beside the network, and how much memory it takes.

Three measurements, each in processes of its own, interleaved, medians of repeats:

* overhead: tiles/s of a whole prediction of a generated GeoTIFF against a bare loop that scores as
  many tiles, held in memory, with the same predictor in the same batches;
* copy: pixels/s of reading and writing through the pipeline with a network that costs nothing,
  against the same job in plain rasterio, single-threaded: read all three bands block by block, and
  write one uint8 band of the same tiles and compression;
* memory: growth of the peak resident memory over the start while a sparse raster is mapped.

Beside the time on the wall stands the processor's: on a machine that others use too, it is the one
that can be trusted.

Run: python benchmarks/predict_raster.py -m BUNDLE [--side 20000] [--out FILE.json]
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = ['a', 'b', 'c']
TILE, OVERLAP, BATCH = 512, 0, 4


def main() -> None:
    """Measure and write."""
    # not above: the processes that are measured import what a map needs
    from crossearth.engine.run_facts import machine_facts

    args = parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = {
            **machine_facts(), 'repeats': args.repeats,
            'overhead': overhead(args, Path(folder)), 'copy': copy(args, Path(folder)),
            'memory': memory(args, Path(folder))}
    args.out.write_text(json.dumps(result, indent=1) + '\n', encoding='utf-8')
    print(json.dumps(result, indent=1))
    print(f'-> {args.out}')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('-m', '--model', type=Path, required=True, help='a model bundle')
    parser.add_argument('--tiles', type=int, default=24, help='tiles of the overhead')
    parser.add_argument('--copy-side', type=int, default=8192, help='px, side of the copied raster')
    parser.add_argument('--side', type=int, default=20_000, help='px, side of the sparse raster')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--device', default='auto')
    parser.add_argument('--out', type=Path, default=Path('benchmarks/predict_raster.json'))
    return parser.parse_args()


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a fresh process."""
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(function, arguments)


def timed(job: Callable[[], Any]) -> dict[str, float]:
    """Seconds of a job on the wall and of all threads of this process."""
    wall, processor = time.perf_counter(), time.process_time()
    job()
    return {'wall_s': time.perf_counter() - wall, 'cpu_s': time.process_time() - processor}


def medians(
    repeats: int, **jobs: Callable[[], dict[str, float]]
) -> dict[str, dict[str, float]]:
    """Median times of each job; one of each, then the next of each."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            found[name].append(job())
    return {name: {clock: statistics.median(times[clock] for times in values)
                   for clock in ('wall_s', 'cpu_s')} for name, values in found.items()}


# ------------------------------------------------------------------------- overhead

def overhead(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds of the bare loop and of the pipeline, for the same tiles."""
    from crossearth.inference.card import read_card

    tile = min(read_card(args.model, verify=False).crop)
    path = write_noise(folder / 'noise.tif', tile, tile * args.tiles)
    seconds = medians(
        args.repeats,
        bare=lambda: apart(time_bare, args.model, args.device, path, tile),
        pipeline=lambda: apart(time_pipeline, args.model, args.device, path, tile))
    return {'tile_px': tile, 'tiles': args.tiles, 'batch': BATCH,
            **seconds, 'overhead_percent': {
                clock: 100 * (value / seconds['bare'][clock] - 1)
                for clock, value in seconds['pipeline'].items()}}


def time_bare(model: Path, device: str, path: Path, tile: int) -> dict[str, float]:
    """Score tiles that are in memory."""
    import rasterio

    from crossearth.inference.scene import load_model

    predictor = load_model(model, device=device)
    with rasterio.open(path) as file:
        data = file.read()
    tiles = np.stack([data[:, :, col:col + tile] for col in range(0, data.shape[2], tile)])
    predictor(tiles[:BATCH])  # warm
    return timed(lambda: [predictor(tiles[first:first + BATCH])
                          for first in range(0, len(tiles), BATCH)])


def time_pipeline(model: Path, device: str, path: Path, tile: int) -> dict[str, float]:
    """Map the raster of the same tiles."""
    from crossearth.inference.scene import SceneOptions, load_model, predict_scene

    predictor = load_model(model, device=device)
    predictor(np.zeros((BATCH, 3, tile, tile), np.uint8))  # warm
    warm()
    options = SceneOptions(tile=tile, overlap=OVERLAP, batch=BATCH, overwrite=True)
    return timed(lambda: predict_scene(path, predictor, path.with_suffix('.map.tif'), options))


# ------------------------------------------------------------------------- reading and writing

def copy(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds of the pipeline and of a plain copy, and the speed of the former in %."""
    side = args.copy_side
    path = write_noise(folder / 'copy.tif', side, side)
    seconds = medians(args.repeats, plain=lambda: apart(time_copy, path),
                      pipeline=lambda: apart(time_free_network, path))
    return {'side_px': side, **seconds, 'share_percent': {
        clock: 100 * value / seconds['pipeline'][clock]
        for clock, value in seconds['plain'].items()}}


def time_copy(path: Path) -> dict[str, float]:
    """Read three bands and write one, block by block."""
    import rasterio

    def job() -> None:
        with rasterio.open(path) as file:
            profile = {**file.profile, 'count': 1, 'photometric': 'minisblack'}
            with rasterio.open(path.with_suffix('.plain.tif'), 'w', **profile) as target:
                for _, window in file.block_windows(1):
                    target.write(file.read(window=window)[:1] >> 6, window=window)

    return timed(job)


def time_free_network(path: Path) -> dict[str, float]:
    """Map with scores that are there already."""
    from crossearth.inference.scene import SceneOptions, predict_scene

    scores = np.eye(3, dtype=np.float32)[0][:, None, None] * np.ones((TILE, TILE), np.float32)

    def network(images: np.ndarray) -> np.ndarray:
        return np.broadcast_to(scores, (len(images), *scores.shape))

    options = SceneOptions(tile=TILE, overlap=OVERLAP, batch=BATCH, overwrite=True)
    predictor = free_predictor(network)
    warm()
    return timed(lambda: predict_scene(path, predictor, path.with_suffix('.map.tif'), options))


def free_predictor(network: Callable[[np.ndarray], np.ndarray]) -> Any:
    """A predictor around a function."""
    from crossearth.inference.card import Card
    from crossearth.inference.predictor import Predictor

    card = Card(model={'type': 'A'}, classes=CLASSES, palette=[[0, 0, 0]] * 3, crop=[TILE, TILE])
    return Predictor(network, len(CLASSES), card)


# ------------------------------------------------------------------------- memory

def memory(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Peak resident memory while a sparse raster is mapped, with default overlap."""
    path = folder / 'sparse.tif'
    apart(write_sparse, path, args.side)
    return apart(measure_memory, path)


def write_sparse(path: Path, side: int) -> None:
    """Write a raster of which only some blocks exist."""
    import rasterio

    with rasterio.open(path, 'w', driver='GTiff', width=side, height=side, count=3, dtype='uint8',
                       nodata=0, tiled=True, blockxsize=512, blockysize=512, sparse_ok=True,
                       compress='deflate', bigtiff='yes', crs='EPSG:32637',
                       transform=rasterio.Affine(1, 0, 5e5, 0, -1, 1e6)) as file:
        block = np.full((3, 512, 512), 9, np.uint8)
        for place in range(0, side - 512, side // 8):
            file.write(block, window=rasterio.windows.Window(place, place, 512, 512))


def measure_memory(path: Path) -> dict[str, Any]:
    """Map the sparse raster."""
    from crossearth.inference.raster import raster_info
    from crossearth.inference.scene import SceneOptions, predict_scene

    predictor = free_predictor(lambda images: images + 1)
    side = raster_info(path).grid.width
    warm()
    before = peak(reset=True)
    planned: list[int] = []
    times = timed(lambda: predict_scene(
        path, predictor, path.with_suffix('.map.tif'),
        SceneOptions(tile=TILE, batch=BATCH, overwrite=True),
        planned=lambda plan, _: planned.append(plan.memory_bytes)))
    return {'side_px': side, 'classes': len(CLASSES), 'tile_px': TILE,
            'peak_growth_mb': peak() - before, 'planned_mb': planned[0] / 2**20, **times}


def peak(*, reset: bool = False) -> float:
    """Peak resident memory of this process in MB, on Linux; `reset` starts again from now.

    `getrusage` would give the peak of the process that started this one, if that was higher.
    """
    if reset:
        Path('/proc/self/clear_refs').write_text('5')
    status = Path('/proc/self/status').read_text()
    return int(status.partition('VmHWM:')[2].split()[0]) / 1024


# ------------------------------------------------------------------------- common

def warm() -> None:
    """Import and start everything once."""
    from crossearth.inference.scene import SceneOptions, predict_scene

    with tempfile.TemporaryDirectory() as folder:
        path = write_noise(Path(folder) / 'warm.tif', 16, 16)
        predict_scene(path, free_predictor(lambda images: images), path.with_suffix('.map.tif'),
                      SceneOptions(tile=16))


def write_noise(path: Path, height: int, width: int) -> Path:
    """Write a tiled RGB GeoTIFF of noise that compresses like an image, by about a half."""
    import rasterio

    rng = np.random.default_rng(0)
    with rasterio.open(path, 'w', driver='GTiff', width=width, height=height, count=3,
                       dtype='uint8', tiled=True, blockxsize=512, blockysize=512,
                       compress='deflate', photometric='rgb', crs='EPSG:32637',
                       transform=rasterio.Affine(1, 0, 5e5, 0, -1, 1e6)) as file:
        for row in range(0, height, 512):
            rows = min(512, height - row)
            data = rng.integers(96, 112, (3, rows, width), np.uint8)
            file.write(data, window=rasterio.windows.Window(0, row, width, rows))
    return path


if __name__ == '__main__':
    main()
