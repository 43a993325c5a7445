# SPDX-License-Identifier: Apache-2.0
"""Attention in rotated windows of varied size (RVSA; Wang et al., arXiv 2208.03987).

The queries of a window attend to keys and values that are sampled in a window which each head
moves, scales and turns on its own:

    place = centre + R(angle) (window * (scale + 1)) + offset,   R = [[cos, -sin], [sin, cos]]

for pairs (x, y), `window` being the distances of a window's pixels from its centre. Parameter names
are those of published weights. Their code states places in units of half the image, in which a
rotation is one of pixels only if the image is square; here it always is.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .relative_position import decomposed_bias, relative_index
from .windows import join_windows, pad_to_windows, split_windows

__all__ = ['RotatedWindowAttention', 'sample_windows', 'window_places']


def window_places(window: int, offsets: Tensor, scales: Tensor, angles: Tensor) -> Tensor:
    """Places at which moved, scaled and turned windows read the map.

    Args:
        window: Side w of a window in px.
        offsets: Shifts (N, 2, rows, columns) of the windows, (x, y) in px.
        scales: What the sides (x, y) grow by, (N, 2, rows, columns); 0 keeps them.
        angles: Rotations (N, rows, columns) in radians, clockwise on the image.

    Returns:
        Places (N, rows * columns, w * w, 2) as (x, y) in px; whole numbers are centres of pixels.
    """
    rows, columns = angles.shape[-2:]
    side = torch.arange(window, dtype=angles.dtype, device=angles.device) - (window - 1) / 2
    x, y = side.repeat(window), side.repeat_interleave(window)
    x_scale, y_scale = (scales + 1).unsqueeze(-1).unbind(1)  # (N, rows, columns, 1)
    x, y = x * x_scale, y * y_scale
    cos, sin = angles.cos().unsqueeze(-1), angles.sin().unsqueeze(-1)
    turned = torch.stack((x * cos - y * sin, x * sin + y * cos), -1)
    centres = torch.stack((
        torch.arange(columns, dtype=angles.dtype, device=angles.device).expand(rows, -1),
        torch.arange(rows, dtype=angles.dtype, device=angles.device)[:, None].expand(-1, columns),
    ), -1) * window + (window - 1) / 2
    centres = centres + offsets.movedim(1, -1)
    return (centres.unsqueeze(-2) + turned).flatten(1, 2)


def sample_windows(maps: Tensor, places: Tensor) -> Tensor:
    """Read maps bilinearly; outside they are zero.

    Args:
        maps: Maps (N, D, H, W).
        places: Places (N, n, w * w, 2) as (x, y) in px.

    Returns:
        Values (N, n, w * w, D).
    """
    H, W = maps.shape[-2:]
    grid = 2 * places / places.new_tensor((W - 1, H - 1)) - 1
    return F.grid_sample(maps.to(grid.dtype), grid, align_corners=True).movedim(1, -1)


class RotatedWindowAttention(nn.Module):
    """Multi-head attention of each window to a window that every head places itself.

    Offsets, scales and angles are predicted from the mean of the window; they start at zero, and so
    does what relative positions add, so that it starts as plain window attention. Maps are padded
    with zeros to whole windows, and so are keys and values, which take part in the softmax.

    Args:
        dim: Channels of a token.
        num_heads: Heads; `dim` must be a multiple of it.
        window: Side of a window in tokens.
    """

    def __init__(self, dim: int, num_heads: int, window: int = 7) -> None:
        super().__init__()
        self.num_heads, self.window = num_heads, window
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.sampling_offsets = _predictor(dim, 2 * num_heads, window)
        self.sampling_scales = _predictor(dim, 2 * num_heads, window)
        self.sampling_angles = _predictor(dim, num_heads, window)
        self.rel_pos_h, self.rel_pos_w = (
            nn.Parameter(torch.zeros(2 * window - 1, dim // num_heads)) for _ in range(2))
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * window - 1) ** 2, num_heads))

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Attend.

        Args:
            x: Tokens (B, N, C) of a grid, row by row.
            grid: (rows, columns) of the tokens.

        Returns:
            Tokens (B, N, C).
        """
        q, k, v = (
            _of_heads(part.mT.reshape(-1, x.shape[-1], *grid), self.num_heads)
            for part in self.qkv(x).chunk(3, -1))
        places = self._places(x.mT.reshape(-1, x.shape[-1], *grid))
        query = split_windows(pad_to_windows(q, self.window), self.window)
        key, value = (sample_windows(pad_to_windows(part, self.window), places).to(query.dtype)
                      for part in (k, v))
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=self._bias(query))
        joined = join_windows(out, self.window, grid)  # (B * heads, D, h, w)
        return self.proj(joined.reshape(-1, x.shape[-1], x.shape[1]).mT)

    def _places(self, maps: Tensor) -> Tensor:
        """Places (B * heads, n, w * w, 2) that the heads choose for maps (B, C, h, w)."""
        padded = pad_to_windows(maps, self.window)
        # at least float32: bfloat16 has 8 bits, too few for a place on a map of 128 px
        dtype = torch.promote_types(padded.dtype, torch.float32)
        offsets, scales, angles = (
            _of_heads(predict(padded).to(dtype), self.num_heads)
            for predict in (self.sampling_offsets, self.sampling_scales, self.sampling_angles))
        # predicted in units of half the padded map over the whole windows of the map itself
        units = [(padded.shape[i] - 1) / 2 / max(maps.shape[i] // self.window, 1) for i in (3, 2)]
        offsets = offsets * offsets.new_tensor(units)[:, None, None]
        return window_places(self.window, offsets, scales, angles[:, 0])

    def _bias(self, query: Tensor) -> Tensor:
        """What relative positions add to the scores of queries (B * heads, n, w * w, D)."""
        window = (self.window, self.window)
        bias = decomposed_bias(query, self.rel_pos_h, self.rel_pos_w, window)
        index = relative_index(self.window).to(query.device)
        table = self.relative_position_bias_table[index].movedim(-1, 0).unsqueeze(1)
        bias = bias.reshape(-1, self.num_heads, *bias.shape[1:]) + table
        return bias.flatten(0, 1).to(query.dtype)


def _predictor(dim: int, channels: int, window: int) -> nn.Sequential:
    conv = nn.Conv2d(dim, channels, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # a Conv2d has a bias unless told otherwise
    return nn.Sequential(nn.AvgPool2d(window), nn.LeakyReLU(), conv)


def _of_heads(maps: Tensor, num_heads: int) -> Tensor:
    """Maps (B * heads, C / heads, h, w) of maps (B, C, h, w)."""
    return maps.reshape(-1, maps.shape[1] // num_heads, *maps.shape[2:])
