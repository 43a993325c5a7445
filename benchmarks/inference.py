#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Time of inference on one crop, and on a large image by sliding windows.

Of the large image, the accumulation of all windows' scores is run and timed, with scores that are
there already; the time of the network is that of one crop, once for each window.

Run: python benchmarks/inference.py --model l --size 512 [--slide 6000] [--flow whole]
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MethodType
from typing import Any

import torch
from common import Row, Settings, compare, finish, interleaved, pair, parse
from reference import twin
from torch import Tensor
from workload import FLOWS, batch, build, infer, jobs

from crossearth.models.segmentors.encoder_decoder import sliding_windows


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    settings, args = parse(__doc__, argv, add_options)
    model = build(settings, args.flow)
    models = {'reference': twin(model), 'ours': model}
    images, _ = batch(settings)
    name = 'inference' if args.flow == 'segmentation' else f'inference_{args.flow}'
    return finish(settings, name, measure(settings, args, models, images), **vars(args))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this benchmark knows."""
    parser.add_argument('--flow', choices=FLOWS, default='segmentation')
    parser.add_argument('--slide', type=int, default=0, help='px, side of a large image; 0: none')
    parser.add_argument('--slide-repeats', type=int, default=1, help='as --repeats, of the image: '
                        'the plain composition pads minutes long')


def measure(
    settings: Settings, args: argparse.Namespace, models: Mapping[str, Any], images: Tensor
) -> Iterator[Row]:
    """Measure a crop, and the large image if one is asked for."""
    crop = compare(settings, 'one crop', jobs(infer, models, images))
    yield crop
    if args.slide:
        yield from slide(replace(settings, repeats=args.slide_repeats), models, args.slide, crop)


def slide(
    settings: Settings, models: Mapping[str, Any], side: int, crop: Row
) -> Iterator[Row]:
    """Measure the accumulation over the windows of a square image, and add the network's time."""
    image = torch.zeros(1, 3, side, side, device=settings.device)
    scores = torch.rand(1, models['ours'].num_classes, settings.size, settings.size,
                        device=settings.device)

    def known(model: Any, window: Tensor, _: Any = None) -> Tensor:
        return scores.expand(len(window), -1, -1, -1)

    for model in models.values():
        model.encode_decode = MethodType(known, model)
    cfg = models['ours'].test_cfg
    windows = len(sliding_windows((side, side), cfg['crop_size'], cfg['stride']))
    times = interleaved(settings, {
        name: lambda model=model: model.slide_inference(image) for name, model in models.items()})
    accumulation = pair(f'accumulation of {windows} windows', times)
    passes = windows / settings.batch
    yield accumulation
    yield total(f'{side} x {side} px', passes, crop, accumulation)


def total(name: str, passes: float, crop: Row, accumulation: Row) -> Row:
    """Time of a large image: the network's passes, and the accumulation."""
    variants: dict[str, Any] = {variant: {clock: {
        key: passes * value + accumulation['variants'][variant][clock][key]
        for key, value in found[clock].items()} for clock in ('wall_s', 'cpu_s')}
        for variant, found in crop['variants'].items()}
    theirs, ours = (variants[variant]['wall_s'] for variant in ('reference', 'ours'))
    return {'name': name, 'variants': variants, 'ratio': {
        'median': theirs['median'] / ours['median'], 'min': theirs['min'] / ours['max'],
        'max': theirs['max'] / ours['min']}}


if __name__ == '__main__':
    sys.exit(main())
