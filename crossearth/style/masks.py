# SPDX-License-Identifier: Apache-2.0
"""The mask generator p_g: random square blocks, one mask per sample (CrossEarth, Eq. 3-4)."""

import torch
from torch import Tensor

from crossearth.errors import ConfigError

__all__ = ['BlockMaskGenerator']


class BlockMaskGenerator:
    """Draw masks that change each block of an image with the same probability.

    Args:
        mask_ratio: Expected fraction of the blocks that are 0, in [0, 1]; 0 and 1 are exact.
        block: Side of a block in px. Blocks at the bottom and right edge may be cut.

    Raises:
        ConfigError: `mask_ratio` is outside [0, 1] or `block` is below 1.
    """

    def __init__(self, mask_ratio: float, block: int) -> None:
        if not 0 <= mask_ratio <= 1:
            raise ConfigError(f'mask_ratio={mask_ratio} is not a fraction of an image. '
                              'Set it between 0 (nothing changes) and 1 (everything does).')
        if block < 1:
            raise ConfigError(f'block={block} is not the side of a block of pixels. '
                              'Set it to 1 or more; the paper uses 16 to 128.')
        self.mask_ratio, self.block = mask_ratio, int(block)

    def __call__(
        self,
        batch: int,
        size: tuple[int, int],
        device: torch.device | str | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw a mask for each sample.

        Args:
            batch: Number of samples B.
            size: Height and width (H, W) in px.
            device: Where the masks are wanted.
            generator: Source of the random numbers, of any device; None for torch's own.

        Returns:
            (B, 1, H, W) float32 on `device`; 1 = keep, 0 = change.
        """
        rows, columns = (-(-side // self.block) for side in size)
        drawn_on = generator.device if generator else device
        uniform = torch.rand(batch, 1, rows, columns, generator=generator, device=drawn_on)
        # not `>`: 0 is drawn now and then, and a ratio of 0 must keep it
        grid = (uniform >= self.mask_ratio).float().to(device)
        blocks = grid.repeat_interleave(self.block, 2).repeat_interleave(self.block, 3)
        return blocks[..., :size[0], :size[1]]
