# SPDX-License-Identifier: Apache-2.0
"""Losses on points instead of pixels (Kirillov et al., PointRend, 2020, section 3.2).

Points come from PyTorch's global generator, so that a seed fixes them.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['PointDraws', 'pixel_table', 'read_logits', 'sample_points', 'uncertain_points']


class PointDraws(NamedTuple):
    """All random points of a step, pairs (x, y) in [0, 1]: of L layers, N images, K masks in all.

    Attributes:
        matching: (L, N, P, 2) where queries and masks are compared to be matched.
        candidates: (L, K, candidates, 2) from which the least certain are taken.
        others: (L, K, P - uncertain, 2) that are taken whatever their certainty.
    """

    matching: Tensor
    candidates: Tensor
    others: Tensor

    @classmethod
    def draw(
        cls, layers: int, images: int, masks: int, points: int, candidates: int, uncertain: int,
        like: Tensor,
    ) -> 'PointDraws':
        """Draw them, of the type and on the device of `like`."""
        def rand(*shape: int) -> Tensor:
            return torch.rand(*shape, 2, dtype=like.dtype, device=like.device)

        # Layer by layer, as when one was treated after the other: a seed gives the same points.
        drawn = [
            (torch.cat([rand(1, points) for _ in range(images)]), rand(masks, candidates),
             rand(masks, points - uncertain))
            for _ in range(layers)]
        return cls(*map(torch.stack, zip(*drawn, strict=True)))


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Read maps at points, bilinearly; outside the map is zero.

    Args:
        maps: (N, C, H, W).
        points: (N, P, 2) pairs (x, y); (0, 0) and (1, 1) are the map's outer corners.

    Returns:
        (N, C, P), of the type of `points`.
    """
    grid = (2 * points - 1)[:, None]
    return F.grid_sample(maps.to(points.dtype), grid, align_corners=False)[:, :, 0]


def pixel_table(features: Tensor) -> Tensor:
    """Lay the channels of each pixel of a map (C, h, w) side by side, and zeros around the map.

    Returns:
        (h + 2, w + 2, C).
    """
    return F.pad(features, (1, 1, 1, 1)).permute(1, 2, 0).contiguous()


def read_logits(embeds: Tensor, table: Tensor, points: Tensor) -> Tensor:
    """Read the masks of all queries of an image at points, in L layers.

    Embedding and reading are linear, so they commute: what is smaller is embedded.

    Args:
        embeds: (L, Q, C) mask embeddings.
        table: (h + 2, w + 2, C) `pixel_table` of the mask features.
        points: (L, P, 2) pairs (x, y) in [0, 1], other ones in each layer.

    Returns:
        (L, Q, P) mask logits.
    """
    if table[..., 0].numel() <= points.shape[1]:
        return _read_pixels(torch.einsum('hwc,lqc->lhwq', table, embeds), points).mT
    return embeds @ _read_pixels(table[None], points).mT


def _read_pixels(tables: Tensor, points: Tensor) -> Tensor:
    """Read `pixel_table`s (L, h, w, C) as `sample_points` reads maps, all channels at once.

    On a CPU that is several times as fast. Points (L, P, 2) give (L, P, C); one table (1, h, w, C)
    serves all layers.
    """
    count, h, w = tables.shape[:3]
    x, y = points[..., 0] * (w - 2) + 0.5, points[..., 1] * (h - 2) + 0.5  # in px of the table
    first = torch.arange(count, dtype=torch.int32, device=points.device)[:, None] * (h * w)
    corner = first + y.int() * w + x.int()
    x, y = x.frac(), y.frac()
    corners = torch.stack((corner, corner + 1, corner + w, corner + w + 1), -1)
    weights = torch.stack(((1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x), -1)
    read = F.embedding_bag(
        corners.flatten(0, 1), tables.flatten(0, 2), mode='sum',
        per_sample_weights=weights.flatten(0, 1))
    return read.view(*points.shape[:2], -1)


def uncertain_points(
    logits: Tensor, candidates: Tensor, others: Tensor, num_points: int,
    ignored: Tensor | None = None,
) -> Tensor:
    """Choose points for each mask, most of them where the mask's logit is nearest to zero.

    Args:
        logits: (M, h, w) mask logits.
        candidates: (M, R, 2) points, of which the least certain are taken.
        others: (M, O, 2) points that are taken anyway.
        num_points: Points P per mask.
        ignored: (M, R) bool, candidates that come last.

    Returns:
        (M, P, 2) pairs (x, y) in [0, 1].
    """
    certainty = sample_points(logits[:, None], candidates)[:, 0].abs()
    if ignored is not None:
        certainty = certainty.masked_fill(ignored, torch.inf)
    count = num_points - others.shape[1]
    chosen = certainty.topk(count, largest=False, sorted=False).indices
    uncertain = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
    return torch.cat((uncertain, others), 1)
