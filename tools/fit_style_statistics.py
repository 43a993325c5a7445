#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Fit the style statistics of Earth-Style Injection to folders of images or GeoTIFFs.

Use images of no place that you will test on: their styles would leak into training. The same
command goes on where it was interrupted.

Example:
    python tools/fit_style_statistics.py data/million_aid -o million_aid.safetensors --limit 20000
"""

import argparse
from pathlib import Path

from crossearth.engine.cli import run_tool


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    from crossearth.style.kinds import KINDS

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images', nargs='+', metavar='IMAGES', help='folders and images')
    parser.add_argument('-o', '--output', type=Path, required=True, help='file to write')
    parser.add_argument('--dataset', help='name of the image set (default: names of the folders)')
    parser.add_argument('--limit', type=int, metavar='N',
                        help='use N images, evenly spread over all (default: all)')
    parser.add_argument('--batch', type=int, default=16, help='images at once (default: 16)')
    parser.add_argument('--kind', choices=KINDS, default='magenta',
                        help='whose style predictor (default: magenta)')
    parser.add_argument('--save-every', type=int, default=2000, metavar='N',
                        help='images between two saved states (default: 2000)')
    args = parser.parse_args()
    for name in ('limit', 'batch', 'save_every'):
        if (value := getattr(args, name)) is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1')
    return args


def main() -> None:
    """Fit, and say what was found."""
    args = parse_args()
    import torch
    from rich import progress

    from crossearth.style.fitting import fit_statistics
    from crossearth.style.kinds import build_kind

    nets = build_kind(args.kind).to('cuda' if torch.cuda.is_available() else 'cpu')
    columns = (progress.TextColumn('images'), progress.BarColumn(), progress.MofNCompleteColumn(),
               progress.TimeRemainingColumn())
    with progress.Progress(*columns) as bars:
        bar = bars.add_task('images', total=None)
        result = fit_statistics(
            args.images, args.output, nets, limit=args.limit, batch=args.batch,
            dataset=args.dataset or ', '.join(Path(root).resolve().name for root in args.images),
            save_every=args.save_every,
            on_start=lambda total, done: bars.update(bar, total=total, completed=done),
            on_batch=lambda done: bars.update(bar, completed=done))
    statistics = result.statistics
    print(f'{args.output}: {statistics.count} images of {statistics.dataset}, '
          f'{statistics.dim} entries')
    if result.skipped:
        print(f'{result.skipped} files could not be read; they are listed in {result.log}')


if __name__ == '__main__':
    run_tool(main)
