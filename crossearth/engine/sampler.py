# SPDX-License-Identifier: Apache-2.0
"""Endless shuffled samples that can start anywhere."""

from collections.abc import Iterator, Sized
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from numpy.typing import NDArray
from torch.utils.data import Sampler

from crossearth.datasets.positions import Position
from crossearth.errors import DataError
from crossearth.registry import DATA_SAMPLERS

__all__ = ['InfiniteSampler']


@DATA_SAMPLERS.register_module()
class InfiniteSampler(Sampler[Position]):
    """Indices of a data set without end; takes the place of mmengine's sampler of this name.

    There is one sequence for all ranks: an epoch is a permutation from (seed, epoch), and with W
    ranks, rank r takes the positions r, r + W, r + 2 W... A run can therefore go on from any
    position, at the cost of one permutation, also with another number of ranks or samples a batch.

    Args:
        dataset: The data set.
        shuffle: Whether to permute.
        seed: Seed of the sequence; None for a random one, the same on all ranks.

    Attributes:
        start: Position to begin with: how many samples all ranks together have used before.

    Raises:
        DataError: The data set is empty.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None) -> None:
        if len(dataset) == 0:
            raise DataError('the training data set holds no sample, so training would wait for the '
                            'first batch for ever. Check its folders, domains and indices.')
        self.rank, self.world_size = get_dist_info()
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.start = 0

    def __iter__(self) -> Iterator[Position]:
        """Yield this rank's indices."""
        position = self.start + self.rank
        epoch, order = -1, np.arange(self.size)
        while True:
            if self.shuffle and position // self.size != epoch:
                epoch = position // self.size
                order = self._permutation(epoch)
            yield Position(int(order[position % self.size]), self.seed, position)
            position += self.world_size

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, epoch]).permutation(self.size)

    def __len__(self) -> int:
        """Give the size of the data set."""
        return self.size

    def state_dict(self, position: int) -> dict[str, Any]:
        """Give what a later run needs to go on from `position`."""
        return {'seed': self.seed, 'size': self.size, 'position': position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another run stopped, in its sequence."""
        self.seed, self.start = state['seed'], state['position']
