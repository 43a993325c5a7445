#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Draw docs/images/styled_tiles.png: tiles of five climates in each other's and in sampled styles.

Needs BlueMarble-Climate (`make data`) and the style networks
(`python -m crossearth.style.magenta_onnx`).
"""

import argparse
from pathlib import Path
from typing import Any

from crossearth.engine.cli import run_tool

DOMAINS = (
    'tropical_rainforest', 'subtropical_monsoon', 'temperate_monsoon', 'semi_arid', 'arid')
ALPHA = 0.1  # share of the sampled style, as in training
GAP, HEADER, FONT = 4, 36, 13  # px
LETTERS = 14  # of a line of a title
IGNORED = 255


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--data', type=Path, default=Path('data/bluemarble_climate'))
    parser.add_argument('--out', type=Path, default=Path('docs/images/styled_tiles.png'))
    return parser.parse_args()


def main() -> None:
    """Draw the picture."""
    args = parse_args()
    import torch

    tiles = torch.stack([most_varied(args.data / 'train' / domain) for domain in DOMAINS])
    columns = {'tile': tiles} | restyle(tiles)
    sheet(columns).save(args.out, optimize=True)
    print(f'-> {args.out}')


def most_varied(folder: Path) -> Any:
    """The tile of a domain with the most diverse labels, (3, H, W) in [0, 1]."""
    import numpy as np
    import torch
    from PIL import Image

    from crossearth.errors import DataError

    def diversity(file: Path) -> float:
        label = np.asarray(Image.open(file))
        share = np.bincount(label[label != IGNORED], minlength=1) / label.size
        return -float((share * np.log(share, where=share > 0, out=np.zeros_like(share))).sum())

    labels = sorted((folder / 'labels').glob('*.png'))
    if not labels:
        raise DataError(f'there are no tiles in {folder / "labels"}. Run: make data')
    name = max(labels, key=diversity).name
    image = np.array(Image.open(folder / 'images' / name).convert('RGB'))
    return torch.from_numpy(image).permute(2, 0, 1) / 255


def restyle(tiles: Any) -> dict[str, Any]:
    """Every tile in the style of each, in a sampled one, and as in training."""
    import torch

    from crossearth.style.kinds import build_kind, load_statistics

    nets = build_kind('magenta')
    own = nets.predictor(tiles)
    generator = torch.Generator().manual_seed(0)
    sampled = load_statistics('magenta', nets).sample(len(tiles), generator).to(own)
    styles = {f'as {domain}': style.expand_as(own)
              for domain, style in zip(DOMAINS, own, strict=True)}
    styles['sampled'] = sampled
    styles[f'{ALPHA} sampled + {1 - ALPHA} own'] = ALPHA * sampled + (1 - ALPHA) * own
    return {title: nets.transformer(tiles, style) for title, style in styles.items()}


def sheet(columns: dict[str, Any]) -> Any:
    """Lay out batches of images (B, 3, H, W) as columns with titles."""
    import textwrap

    from PIL import Image, ImageDraw, ImageFont

    number, _, height, width = next(iter(columns.values())).shape
    canvas = Image.new('RGB', (len(columns) * (width + GAP) - GAP,
                               HEADER + number * (height + GAP) - GAP), 'white')
    draw = ImageDraw.Draw(canvas)
    for column, (title, images) in enumerate(columns.items()):
        left = column * (width + GAP)
        text = textwrap.fill(title.replace('_', ' '), LETTERS)
        draw.multiline_text((left + width // 2, HEADER // 2), text, fill='black', anchor='mm',
                            align='center', spacing=2, font=ImageFont.load_default(FONT))
        for row, image in enumerate(images):
            pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
            canvas.paste(Image.fromarray(pixels), (left, HEADER + row * (height + GAP)))
    return canvas.quantize(256, dither=Image.Dither.NONE)  # a palette keeps the file small


if __name__ == '__main__':
    run_tool(main)
