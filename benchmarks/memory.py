#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Peak memory of a training step: the plain composition, ours, and ours with checkpointing.

Each in a process of its own, which holds nothing else: on a CPU its peak resident memory, imports
and weights included; on CUDA that of its tensors.

Run: python benchmarks/memory.py --model l --size 512 [--flow segmentation]
"""

import argparse
import sys
from collections.abc import Sequence

from common import Row, Settings, apart, finish, parse, peak_mb, prepare
from reference import twin
from workload import FLOWS, batch, build, set_styled, train

VARIANTS = ('reference', 'ours', 'checkpointing')


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    settings, args = parse(__doc__, argv, add_options)
    iterations = {f'{kind} iteration': kind == 'styled' for kind in args.iterations}
    if args.flow == 'segmentation':
        iterations = {'segmentation flow': False}
    rows = (measure(settings, args, name, styled) for name, styled in iterations.items())
    name = 'memory' if args.flow == 'whole' else f'memory_{args.flow}'
    return finish(settings, name, rows, **vars(args))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this benchmark knows."""
    parser.add_argument('--flow', choices=FLOWS, default='whole')
    parser.add_argument('--iterations', nargs='+', choices=('plain', 'styled'),
                        default=['plain', 'styled'], help='of the whole method')
    parser.add_argument('--variants', nargs='+', choices=VARIANTS, default=list(VARIANTS))


def measure(settings: Settings, args: argparse.Namespace, name: str, styled: bool) -> Row:
    """Measure one kind of iteration."""
    peaks = {variant: apart(peak_of_step, settings, args.flow, variant, styled)
             for variant in args.variants}
    row: Row = {'name': name, 'variants': {
        variant: {'peak_mb': peak} for variant, peak in peaks.items()}}
    if 'reference' in peaks:
        row['figures'] = {f'{variant} / reference': peak / peaks['reference']
                          for variant, peak in peaks.items() if variant != 'reference'}
    return row


def peak_of_step(settings: Settings, flow: str, variant: str, styled: bool) -> float:
    """Run a training step and give the peak, MB; the next one would begin without gradients."""
    prepare(settings)
    model = build(settings, flow, checkpointing=variant == 'checkpointing')
    if variant == 'reference':
        model = twin(model)
    if flow == 'whole':
        set_styled(model, styled)
    images, samples = batch(settings)
    train(settings, model, images, samples)
    return peak_mb(settings)


if __name__ == '__main__':
    sys.exit(main())
