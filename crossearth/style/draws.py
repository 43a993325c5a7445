# SPDX-License-Identifier: Apache-2.0
"""Random numbers that belong to an iteration: equal on all ranks where needed, and after a resume.

Whether an iteration is styled decides which losses exist, so all ranks must agree on it. Styles and
masks should differ between ranks, or a larger job would see fewer of them.
"""

import numpy as np
import torch
from mmengine import dist
from torch import Tensor, nn

__all__ = ['IterationDraws']

SHARED, OWN = 0, 1  # what a stream of random numbers is for


class IterationDraws(nn.Module):
    """Count iterations, and give each its random numbers from (seed, iteration, rank) alone.

    The state is a buffer: with a checkpoint the sequence goes on where it stopped, whatever else
    has used random numbers, and however many ranks there are.

    Args:
        seed: Seed of the sequence; None for torch's, as it is on rank 0.

    Attributes:
        state: (2,) int64: the seed and the number of iterations begun.
        generator: CPU generator of the current iteration; another one on every rank.
    """

    state: Tensor

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self._agreed = seed is not None
        seed = torch.initial_seed() if seed is None else seed
        # on the CPU also where a model is built without storage (torch.device('meta'))
        self.register_buffer('state', torch.tensor([seed % 2**63, 0], device='cpu'))
        self.generator = torch.Generator()
        self._seed_generator()

    def advance(self) -> float:
        """Begin an iteration.

        Returns:
            A number from [0, 1), the same on all ranks.
        """
        if not self._agreed:  # here and not in __init__, which some tools call on one rank only
            dist.broadcast(self.state)
            self._agreed = True
        self.state[1] += 1
        self._seed_generator()
        return float(np.random.default_rng([SHARED, *self.state.tolist()]).random())

    def _seed_generator(self) -> None:
        sequence = np.random.SeedSequence([OWN, *self.state.tolist(), dist.get_rank()])
        self.generator.manual_seed(int(sequence.generate_state(1)[0]))
