# SPDX-License-Identifier: Apache-2.0
"""Sine encoding of the places of a feature map (Carion et al., DETR, 2020), normalised to 2 pi."""

import math

import torch
from torch import Tensor

__all__ = ['sine_position_encoding']


def _encode_axis(length: int, channels: int, device: torch.device | None) -> Tensor:
    """(length, channels): sine in even, cosine in odd channels, of falling frequency."""
    place = torch.arange(1, length + 1, dtype=torch.float32, device=device)
    place = place / (length + 1e-6) * (2 * math.pi)
    channel = torch.arange(channels, dtype=torch.float32, device=device)
    angle = place[:, None] / 10000 ** (2 * (channel // 2) / channels)
    return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), -1).flatten(1)


def sine_position_encoding(
    height: int, width: int, channels: int, device: torch.device | None = None
) -> Tensor:
    """Encode every place of a map: half of the channels for the row, half for the column.

    Args:
        height: Height of the map in px.
        width: Width of the map in px.
        channels: Channels C of the encoding, a multiple of 4.
        device: Where the result lies.

    Returns:
        (height * width, C) float32, row by row.

    Raises:
        ValueError: `channels` is not a multiple of 4.
    """
    if channels % 4:
        raise ValueError(f'channels must be a multiple of 4, but is {channels}')
    rows = _encode_axis(height, channels // 2, device)
    columns = _encode_axis(width, channels // 2, device)
    return torch.cat((rows.repeat_interleave(width, 0), columns.repeat(height, 1)), -1)
