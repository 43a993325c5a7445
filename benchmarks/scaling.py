#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""How the cost of ours grows with the crop, the batch and the backbone: time per pixel.

Run: python benchmarks/scaling.py [--sizes 512 1024] [--batches] [--models s l] [--training]
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from common import MODELS, Row, Settings, finish, interleaved, measured, parse, summary
from torch.utils.flop_counter import FlopCounterMode
from workload import FLOWS, batch, build, infer, train


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    settings, args = parse(__doc__, argv, add_options)
    points = {
        **{f'crop {size}': replace(settings, size=size) for size in args.sizes},
        **{f'batch {count}': replace(settings, batch=count) for count in args.batches},
        **{f'ViT-{model}': replace(settings, model=model) for model in args.models}}
    rows = (measure(name, point, args) for name, point in points.items())
    name = 'scaling_training' if args.training else 'scaling'
    return finish(settings, name, rows, **vars(args))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this benchmark knows."""
    parser.add_argument('--sizes', type=int, nargs='*', default=[256, 512, 768, 1024])
    parser.add_argument('--batches', type=int, nargs='*', default=[1, 2, 4, 8])
    parser.add_argument('--models', nargs='*', choices=MODELS, default=['s', 'b', 'l', 'g'])
    parser.add_argument('--training', action='store_true', help='the step instead of inference')
    parser.add_argument('--flow', choices=FLOWS, default='segmentation')


def measure(name: str, settings: Settings, args: argparse.Namespace) -> Row:
    """Measure one point of a sweep."""
    model = build(settings, args.flow)
    images, samples = batch(settings)

    def job() -> None:
        if args.training:
            train(settings, model, images, samples)
        else:
            infer(settings, model, images)

    with FlopCounterMode(display=False) as counter:  # also the warm-up
        job()
    flop = counter.get_total_flops()
    peaks: list[float] = []
    times = interleaved(settings, {'ours': job}, peaks)['ours']
    found = measured(times, flop, [flop / peak / 1e9 for peak in peaks])
    pixels = settings.batch * settings.size**2
    return {'name': name, 'variants': {'ours': found}, 'gemm_peak_gflops': summary(peaks),
            'figures': {'us_per_px': found['wall_s']['median'] / pixels * 1e6}}


if __name__ == '__main__':
    sys.exit(main())
