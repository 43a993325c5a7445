# SPDX-License-Identifier: Apache-2.0
"""Random numbers of a sample that depend on its place in the run, and on nothing else.

A sampler gives each index its position in the endless sequence of samples. From (seed, position)
alone come the random numbers of the sample's augmentation: the same ones in a worker or in the main
process, and after a resume; and those of the model are as if there were no augmentation.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ['Position', 'sample_randomness']


class Position(int):
    """Index of a sample that knows its place in the sequence of samples.

    Args:
        index: Index into the data set.
        seed: Seed of the sequence.
        position: How many samples come before it, on all ranks together.
    """

    seed: int
    position: int

    def __new__(cls, index: int, seed: int, position: int) -> 'Position':
        """Make the index."""
        self = super().__new__(cls, index)
        self.seed, self.position = seed, position
        return self

    def __getnewargs__(self) -> tuple[int, int, int]:  # type: ignore[override]  # int's takes one
        """Let it be sent to worker processes."""
        return int(self), self.seed, self.position


@contextmanager
def sample_randomness(index: int) -> Iterator[None]:
    """Seed Python, NumPy and torch (CPU) for a sample; afterwards they go on as if nothing was.

    A data set puts it around the making of a sample:

        def __getitem__(self, index):
            with sample_randomness(index):
                return super().__getitem__(index)

    Args:
        index: A `Position`; with any other index nothing is changed.
    """
    if not isinstance(index, Position):
        yield
        return
    python, numpy, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = np.random.SeedSequence([index.seed, index.position]).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    torch.default_generator.manual_seed(int(words[2]))  # torch.manual_seed would reseed GPUs, too
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(torch_state)
