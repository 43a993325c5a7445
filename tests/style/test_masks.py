# SPDX-License-Identifier: Apache-2.0
"""Block masks: their grid, their share, the random numbers that they use."""

import numpy as np
import pytest
import torch

from crossearth.errors import ConfigError
from crossearth.style.masks import BlockMaskGenerator


def test_blocks_are_constant_and_cut_at_the_edge():
    mask = BlockMaskGenerator(0.5, 4)(2, (10, 13))
    assert mask.shape == (2, 1, 10, 13)
    grid = mask[..., ::4, ::4]  # ceil(10 / 4) x ceil(13 / 4): one pixel of each block
    assert grid.shape == (2, 1, 3, 4)
    expected = np.kron(grid.numpy(), np.ones((4, 4), np.float32))[..., :10, :13]
    np.testing.assert_array_equal(mask.numpy(), expected)
    assert set(mask.unique().tolist()) == {0.0, 1.0}


def test_every_sample_has_its_own_mask():
    masks = BlockMaskGenerator(0.5, 1)(8, (16, 16))
    assert len({mask.numpy().tobytes() for mask in masks}) == 8


def test_same_generator_same_mask_whatever_the_global_state():
    first, second = (
        BlockMaskGenerator(0.5, 2)(1, (32, 32), generator=torch.Generator().manual_seed(3))
        for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, BlockMaskGenerator(0.5, 2)(1, (32, 32)))


def test_ratio_zero_keeps_even_the_number_zero(monkeypatch):
    monkeypatch.setattr(torch, 'rand', lambda *shape, **_: torch.zeros(shape))
    assert BlockMaskGenerator(0, 8)(1, (16, 16)).all()


@pytest.mark.parametrize(('ratio', 'block', 'message'), [
    (1.2, 64, 'mask_ratio=1.2 is not a fraction'), (-0.1, 64, 'mask_ratio=-0.1'),
    (float('nan'), 64, 'mask_ratio=nan'), (0.5, 0, 'block=0 is not the side')])
def test_impossible_arguments(ratio, block, message):
    with pytest.raises(ConfigError, match=message):
        BlockMaskGenerator(ratio, block)
