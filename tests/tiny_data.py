# SPDX-License-Identifier: Apache-2.0
"""Generated tiles on disk."""

from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ['write_domain', 'write_pairs']


def write_domain(root: Path, domain: str, split: str, number: int, size: int = 32) -> None:
    """Write the tiles of a domain in the prepared layout."""
    write_pairs(root / split / domain, number, size)


def write_pairs(folder: Path, number: int, size: int = 32) -> None:
    """Write `number` random tiles whose label is a threshold of the red band."""
    rng = np.random.default_rng([number, *folder.name.encode(), *folder.parent.name.encode()])
    for kind in ('images', 'labels'):
        (folder / kind).mkdir(parents=True)
    for index in range(number):
        image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        label = (image[..., 0] > 128).astype(np.uint8)
        label[:2] = 255
        Image.fromarray(image).save(folder / 'images' / f'{index}.png')
        Image.fromarray(label).save(folder / 'labels' / f'{index}.png')
