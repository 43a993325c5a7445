#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Time of a training step, loss and backward pass, against the plain composition of the model.

Of the whole method, plain and styled iterations are measured, and weighted as they occur.

Run: python benchmarks/train_step.py --model l --size 512 [--flow segmentation] [--checkpointing]
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from common import Row, Settings, compare, finish, parse
from reference import twin
from workload import FLOWS, batch, build, jobs, set_styled, train, train_exactly

STYLED = 0.1  # of the iterations
CHECKED = 256  # px: float64 takes twice the memory


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    settings, args = parse(__doc__, argv, add_options)
    name = 'train_step' if args.flow == 'whole' else f'train_step_{args.flow}'
    return finish(settings, name, measure(settings, args), **vars(args))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what only this benchmark knows."""
    parser.add_argument('--flow', choices=FLOWS, default='whole')
    parser.add_argument(
        '--checkpointing', action='store_true', help='ours recomputes the blocks')


def measure(settings: Settings, args: argparse.Namespace) -> Iterator[Row]:
    """Measure the iterations of a flow."""
    model = build(settings, args.flow, checkpointing=args.checkpointing)
    models = {'reference': twin(model), 'ours': model}
    steps = jobs(train, models, *batch(settings))
    crop = replace(settings, size=min(settings.size, CHECKED))
    exact = jobs(train_exactly, models, *batch(crop))
    if args.flow == 'segmentation':
        yield compare(settings, 'segmentation flow', steps, exact)
        return
    rows = []
    for styled in (False, True):
        for one in models.values():
            set_styled(one, styled)
        name = f'{"styled" if styled else "plain"} iteration'
        rows.append(compare(settings, name, steps, exact))
        yield rows[-1]
    yield weighted(*rows)


def weighted(plain: Row, styled: Row) -> Row:
    """Mean cost of an iteration, a tenth of which are styled."""
    def mean(a: float, b: float) -> float:
        return (1 - STYLED) * a + STYLED * b

    variants = {}
    for name, usual in plain['variants'].items():
        other = styled['variants'][name]
        variants[name] = {
            clock: {key: mean(value, other[clock][key]) for key, value in usual[clock].items()}
            for clock in ('wall_s', 'cpu_s')} | {'gflop': mean(usual['gflop'], other['gflop'])}
        # of both: what the bound takes, over what was taken
        bounds = [row['share_of_peak'] * row['wall_s']['median'] for row in (usual, other)]
        variants[name]['share_of_peak'] = mean(*bounds) / variants[name]['wall_s']['median']
    theirs, ours = (variants[name]['wall_s']['median'] for name in ('reference', 'ours'))
    return {'name': 'whole method', 'variants': variants, 'ratio': {
        'median': theirs / ours, 'min': min(row['ratio']['min'] for row in (plain, styled)),
        'max': max(row['ratio']['max'] for row in (plain, styled))}}


if __name__ == '__main__':
    sys.exit(main())
