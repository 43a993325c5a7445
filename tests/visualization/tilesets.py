# SPDX-License-Identifier: Apache-2.0
"""Tiles in memory, and a model whose features and scores are known."""

import numpy as np

from crossearth.visualization.tiles import Tile, TileSet

__all__ = ['FakeSubject', 'tile_set']

PALETTE = [[10, 20, 250], [5, 120, 40]]


def tile_set(number=3, size=16, domains=('dry', 'wet')):
    """Random images of each domain; the label is the right half, its first two rows ignored."""
    rng = np.random.default_rng(0)
    label = np.repeat((np.arange(size) >= size // 2).astype(np.uint8)[None], size, 0)
    label[:2] = 255
    return TileSet([
        Tile(domain, f'{domain}/{index}.png', rng.integers(0, 256, (size, size, 3), np.uint8),
             label) for domain in domains for index in range(number)],
        ('low', 'high'), PALETTE, ['dry'])


class FakeSubject:
    """Features are the means of 4 px cells; class 1 has the share of the red band."""

    title = 'fake'

    def features(self, image, layer):
        height, width, _ = image.shape
        cells = image.reshape(height // 4, 4, width // 4, 4, 3).mean((1, 3))
        return cells.astype(np.float32)

    def scores(self, image, size):
        red = image[..., 0] / 255
        return np.stack([1 - red, red]).astype(np.float32)
