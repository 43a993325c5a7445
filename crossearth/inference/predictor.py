# SPDX-License-Identifier: Apache-2.0
"""Tiles of any size -> class scores, whatever runs the network and however little memory it has."""

from collections.abc import Callable
from typing import Any

import numpy as np

from crossearth.errors import ConfigError

__all__ = ['TTA', 'OutOfTileMemoryError', 'Predictor']

TTA = ('none', 'd4')
# The coarsest feature map has stride 32; a side below two of its pixels has no neighbourhood.
MULTIPLE = 32

Scorer = Callable[[np.ndarray], np.ndarray]


class OutOfTileMemoryError(MemoryError):
    """A single tile does not fit into the device's memory: only a smaller tile helps."""


class Predictor:
    """Score batches of tiles.

    Args:
        scorer: Images (N, C, h, w) float32 in 0..255, h and w multiples of 32 -> scores
            (N, K, h, w) float32, none below 0. With an attribute `size`, (h, w) is always that.
        num_classes: K.
        card: What is known about the model; None for a bare scorer.
        tta: `d4` averages the scores over the eight flips and quarter turns; `none` does not.

    Raises:
        ConfigError: `tta` is another word.
    """

    def __init__(
        self, scorer: Scorer, num_classes: int, card: Any = None, tta: str = 'none'
    ) -> None:
        if tta not in TTA:
            raise ConfigError(f"tta={tta!r} is unknown. Choose one of: {', '.join(TTA)}.")
        self.scorer = scorer
        self.num_classes = num_classes
        self.card = card
        self.tta = tta
        self.max_batch: int | None = None  # known once the memory has run out

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Score a batch.

        Args:
            images: (N, C, h, w) uint8 or float32 in 0..255 of any size.

        Returns:
            Scores (N, K, h, w) float32. The same for any batch size.

        Raises:
            OutOfTileMemoryError: One image alone is too large for the device.
            ConfigError: The images are larger than the one size that the scorer takes.
        """
        size = getattr(self.scorer, 'size', None) or _size(images.shape[-2:])
        padded = _pad(images.astype(np.float32, copy=False), size)
        scores = self._average(padded) if self.tta == 'd4' else self._score(padded)
        return scores[..., :images.shape[-2], :images.shape[-1]]

    def _average(self, images: np.ndarray) -> np.ndarray:
        """Mean over the dihedral group D4 of the scores, turned back."""
        total = np.zeros((len(images), self.num_classes, *images.shape[-2:]), np.float32)
        for flip in (False, True):
            for turns in range(4):
                view = np.rot90(images[..., ::-1] if flip else images, turns, (-2, -1))
                back = np.rot90(self._score(np.ascontiguousarray(view)), -turns, (-2, -1))
                total += back[..., ::-1] if flip else back
        return total / 8

    def _score(self, images: np.ndarray) -> np.ndarray:
        """Run the network on as many images at once as fit; what fitted is remembered."""
        step = min(self.max_batch or len(images), len(images))
        parts: list[np.ndarray] = []
        done = 0
        while done < len(images):
            try:
                parts.append(self.scorer(images[done:done + step]))
            except (MemoryError, RuntimeError) as error:
                if not _out_of_memory(error):
                    raise
                if step == 1:
                    raise OutOfTileMemoryError(str(error)) from None
                self.max_batch = step = step // 2
            else:
                done += step
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    """The next size that a network of any size takes."""
    height, width = (max(-(-side // MULTIPLE), 2) * MULTIPLE for side in shape)
    return height, width


def _pad(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Repeat the last row and column up to a size."""
    missing = [wanted - side for wanted, side in zip(size, images.shape[-2:], strict=True)]
    if min(missing) < 0:
        raise ConfigError(f'The exported model takes tiles of {size[0]} x {size[1]} px and no '
                          f'larger ones. Give --tile {min(size)}, or use --runtime torch.')
    if not any(missing):
        return images
    return np.pad(images, [(0, 0), (0, 0), *((0, amount) for amount in missing)], mode='edge')


def _out_of_memory(error: Exception) -> bool:
    """Whether an error means exhausted memory: torch raises plain RuntimeErrors on a CPU."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or 'out of memory' in text or "can't allocate" in text
