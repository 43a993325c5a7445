#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Draw samples of a data set as the model sees them: after the pipeline, with their labels.

Example:
    python tools/browse_dataset.py configs/demo/crossearth_subtropical_monsoon.py --number 16
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossearth.engine.cli import config_parser, read_config, run_tool

if TYPE_CHECKING:
    from crossearth.visualization import PictureRow

ROWS = 8  # on one picture


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = config_parser('Draw samples of a data set with their labels.')
    parser.add_argument('--split', choices=['train', 'val', 'test'], default='train',
                        help='whose data loader to look at (default: train)')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/browse'),
                        help='folder of the pictures (default: work_dirs/browse)')
    parser.add_argument('--number', type=int, default=ROWS,
                        help=f'samples to draw, evenly spaced (default: {ROWS})')
    args = parser.parse_args()
    if args.number < 1:
        parser.error('--number must be at least 1')
    return args


def main() -> None:
    """Draw the pictures and say where they are."""
    args = parse_args()
    from crossearth.engine.complete import complete_data
    from crossearth.errors import ConfigError
    from crossearth.registry import DATASETS
    from crossearth.visualization import comparison_picture, save_picture

    cfg = complete_data(read_config(args))
    loader = cfg.get(f'{args.split}_dataloader')
    if loader is None:
        raise ConfigError(f'{args.config} has no {args.split}_dataloader. Choose another --split.')
    dataset = DATASETS.build(loader.dataset)
    count = min(args.number, len(dataset))
    chosen = [index * len(dataset) // count for index in range(count)]
    for page, start in enumerate(range(0, count, ROWS)):
        rows = [row(dataset[index], dataset.metainfo) for index in chosen[start:start + ROWS]]
        path = args.out / f'{args.split}_{page:02d}.png'
        save_picture(comparison_picture(rows, **{
            key: dataset.metainfo[key] for key in ('classes', 'palette')}), path)
        print(path)


def row(sample: dict[str, Any], metainfo: dict[str, Any]) -> 'PictureRow':
    """Image, label and both of a packed sample."""
    from crossearth.visualization import PictureRow, colorize, overlay

    image = sample['inputs'].numpy()[::-1].transpose(1, 2, 0)  # (3, H, W) BGR -> (H, W, 3) RGB
    label = sample['data_samples'].gt_sem_seg.data[0].numpy()
    palette = metainfo['palette']
    return PictureRow(sample['data_samples'].metainfo.get('domain', ''), {
        'Image': image, 'Label': colorize(label, palette), 'Both': overlay(image, label, palette)})


if __name__ == '__main__':
    run_tool(main)
