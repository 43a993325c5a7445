# SPDX-License-Identifier: Apache-2.0
"""Patch embedding: a convolution whose stride is its kernel, and the resizing of its kernel."""

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ['PatchEmbed', 'resize_patch_kernel']


class PatchEmbed(nn.Module):
    """Cut an image into patches and project each to a token.

    Args:
        patch_size: Side of a patch in px.
        embed_dim: Channels of a token.
        in_chans: Bands of the image.
    """

    def __init__(self, patch_size: int, embed_dim: int, in_chans: int = 3) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map an image (B, 3, H, W) to tokens (B, H/p * W/p, C), row by row."""
        return self.proj(x).flatten(2).transpose(1, 2)


def resize_patch_kernel(weight: Tensor, patch_size: int) -> Tensor:
    """Resize the kernel of a patch embedding, for instance from 14 px to 16 px.

    Bicubic without antialiasing and without rescaling, as the published converted files hold it:
    responses become about (16/14)^2 = 1.31 times larger, and the adapters are trained on top of
    that.

    Args:
        weight: Kernel (C, 3, p, p).
        patch_size: New side q in px.

    Returns:
        Kernel (C, 3, q, q).
    """
    size = (patch_size, patch_size)
    if weight.shape[-2:] == size:
        return weight
    resized = F.interpolate(weight.float(), size=size, mode='bicubic', align_corners=False)
    return resized.to(weight.dtype)
