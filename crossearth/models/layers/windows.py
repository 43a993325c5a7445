# SPDX-License-Identifier: Apache-2.0
"""Cut a map into windows that do not overlap, and put them together again."""

import torch.nn.functional as F
from torch import Tensor

__all__ = ['join_windows', 'pad_to_windows', 'split_windows']


def pad_to_windows(x: Tensor, window: int) -> Tensor:
    """Pad a map with zeros to whole windows: half at each end, an odd one at the bottom and right.

    Args:
        x: Map (..., H, W).
        window: Side of a window in px.

    Returns:
        Map (..., H', W') with sides that are multiples of `window`.
    """
    rows, columns = (-side % window for side in x.shape[-2:])
    top, left = rows // 2, columns // 2
    return F.pad(x, (left, columns - left, top, rows - top))


def split_windows(x: Tensor, window: int) -> Tensor:
    """Cut a map of whole windows.

    Args:
        x: Map (..., C, H, W), both sides multiples of `window`.
        window: Side of a window in px.

    Returns:
        Windows (..., H/w * W/w, w * w, C), row by row, and so their pixels.
    """
    *lead, H, W = x.shape
    x = x.reshape(*lead, H // window, window, W // window, window)  # (..., C, rows, w, columns, w)
    return x.movedim(-5, -1).transpose(-4, -3).flatten(-3, -2).flatten(-4, -3)


def join_windows(windows: Tensor, window: int, size: tuple[int, int]) -> Tensor:
    """Put windows together and cut the padding off: undo `pad_to_windows` and `split_windows`.

    Args:
        windows: Windows (..., n, w * w, C), row by row.
        window: Side w of a window in px.
        size: (H, W) of the map before it was padded.

    Returns:
        Map (..., C, H, W).
    """
    H, W = size
    *lead, _, _, C = windows.shape
    x = windows.reshape(*lead, -(-H // window), -(-W // window), window, window, C)
    x = x.transpose(-4, -3).movedim(-1, -5).flatten(-2).flatten(-3, -2)
    top, left = (-H % window) // 2, (-W % window) // 2
    return x[..., top : top + H, left : left + W]
