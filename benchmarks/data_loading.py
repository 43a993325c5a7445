#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Augmented training crops per second from prepared tiles, without and with worker processes.

The tiles are generated: noise on smooth fields, which PNG packs to 60 %, as photos. The reference
is the same pipeline with mmseg's and mmcv's transforms where we have our own; the tests compare
their crops, which are the same.

Run: python benchmarks/data_loading.py --size 512 [--tile 1024] [--workers 0 2] [--step SECONDS]
     [--uncompressed]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from common import Row, Settings, finish, measured, parse
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import crossearth.datasets
import crossearth.transforms  # noqa: F401  (registers the transforms)
from crossearth.datasets.prepare.encodings import encode_png

CONFIGS = Path(__file__).resolve().parents[1] / 'configs' / '_base_' / 'datasets'
CLASSES = ('a', 'b', 'c', 'd', 'e')
OWN = ('RandomCrop', 'RandomFlip', 'PhotoMetricDistortion', 'PackSegInputs')


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    settings, args = parse(__doc__, argv, add_options)
    init_default_scope('crossearth')
    cv2.setNumThreads(0)  # as env_cfg of the configs: a worker is one thread
    with tempfile.TemporaryDirectory() as folder:
        write_tiles(Path(folder) / 'train' / 'here', args, settings.seed)
        rows = [measure(settings, args, Path(folder), workers) for workers in args.workers]
    name = 'data_loading_uncompressed' if args.uncompressed else 'data_loading'
    return finish(settings, name, rows, **vars(args))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this benchmark knows."""
    parser.add_argument('--workers', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--tile', type=int, default=512, help='px, side of a tile')
    parser.add_argument('--tiles', type=int, default=64)
    parser.add_argument('--uncompressed', action='store_true',
                        help='tiles as `crossearth data prepare --uncompressed` writes them')
    parser.add_argument('--samples', type=int, default=200, help='crops of one timed run')
    parser.add_argument('--step', type=float, help='s, a training step: what share is loading?')


def write_tiles(folder: Path, args: argparse.Namespace, seed: int) -> None:
    """Write tiles of noise on smooth fields, with the fields as labels."""
    rng, side = np.random.default_rng(seed), args.tile
    for kind in ('images', 'labels'):
        (folder / kind).mkdir(parents=True)
    for index in range(args.tiles):
        coarse = rng.random((8, 8, 3), np.float32)
        smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)
        image = (smooth * 239).astype(np.uint8) + rng.integers(0, 16, smooth.shape, np.uint8)
        label = (smooth[..., 0] * (len(CLASSES) - 0.01)).astype(np.uint8)
        for kind, pixels in (('images', image), ('labels', label)):
            content = encode_png(pixels, uncompressed=args.uncompressed)
            (folder / kind / f'{index}.png').write_bytes(content)


def measure(
    settings: Settings, args: argparse.Namespace, root: Path, workers: int
) -> Row:
    """Draw crops with the published augmentation of this crop size."""
    times = {variant: draw(settings, args, root, workers, scope)
             for variant, scope in (('reference', 'mmseg.'), ('ours', ''))}
    found = {variant: measured(runs) for variant, runs in times.items()}
    seconds = found['ours']['wall_s']['median']
    figures = {'samples_per_s': 1 / seconds,
               'reference_samples_per_s': 1 / found['reference']['wall_s']['median']}
    if args.step:
        figures['share_of_step'] = seconds * settings.batch / args.step
    return {'name': f'one crop, {workers} workers', 'variants': found, 'figures': figures}


def draw(
    settings: Settings, args: argparse.Namespace, root: Path, workers: int, scope: str
) -> list[tuple[float, float]]:
    """Seconds of one crop in each run, on the wall and of this process."""
    loader = Config.fromfile(CONFIGS / f'crop_{settings.size}.py').train_dataloader
    loader.update(
        num_workers=workers, persistent_workers=workers > 0, batch_size=settings.batch)
    loader.dataset.update(
        type='DomainSegDataset', data_root=str(root), domains=('here',),
        metainfo={'classes': CLASSES})
    for step in loader.dataset.pipeline:
        if step.type in OWN:
            step.type = scope + step.type
    batches = iter(Runner.build_dataloader(loader, seed=settings.seed))
    count = -(-args.samples // settings.batch)
    times = []
    for _ in range(settings.repeats + 1):  # the first to warm up
        wall, processor = time.perf_counter(), time.process_time()
        for _ in range(count):
            next(batches)
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    return [(wall / count / settings.batch, processor / count / settings.batch)
            for wall, processor in times[1:]]


if __name__ == '__main__':
    sys.exit(main())
