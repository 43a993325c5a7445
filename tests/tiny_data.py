# SPDX-License-Identifier: Apache-2.0
"""Generated tiles on disk."""

from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ['write_domain']


def write_domain(root: Path, domain: str, split: str, number: int, size: int = 32) -> None:
    """Write `number` random tiles whose label is a threshold of the red band."""
    rng = np.random.default_rng([number, *domain.encode(), *split.encode()])
    for kind in ('images', 'labels'):
        (root / split / domain / kind).mkdir(parents=True)
    for index in range(number):
        image = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        label = (image[..., 0] > 128).astype(np.uint8)
        label[:2] = 255
        Image.fromarray(image).save(root / split / domain / 'images' / f'{index}.png')
        Image.fromarray(label).save(root / split / domain / 'labels' / f'{index}.png')
