# SPDX-License-Identifier: Apache-2.0
"""States of the global random number generators, as plain values that any loader reads."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ['capture', 'preserved', 'reseed', 'restore']


def capture() -> dict[str, Any]:
    """Give the states of Python, NumPy, torch and this process's GPU."""
    version, words, gauss = random.getstate()
    _, keys, *rest = np.random.get_state()
    state: dict[str, Any] = {
        'python': [version, torch.tensor(words), gauss],
        'numpy': [torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        'torch': torch.get_rng_state()}
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def restore(state: dict[str, Any]) -> None:
    """Set what `capture` gave."""
    version, words, gauss = state['python']
    random.setstate((version, tuple(words.tolist()), gauss))
    keys, *rest = state['numpy']
    np.random.set_state(('MT19937', keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state['torch'])
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'])


@contextmanager
def preserved() -> Iterator[None]:
    """Undo what the enclosed code does to the generators."""
    state = capture()
    try:
        yield
    finally:
        restore(state)


def reseed(*words: int) -> None:
    """Seed all generators from several numbers, such as seed, iteration and rank."""
    seeds = np.random.SeedSequence(words).generate_state(3)
    random.seed(int(seeds[0]))
    np.random.seed(seeds[1])
    torch.manual_seed(int(seeds[2]))
