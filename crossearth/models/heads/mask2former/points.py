# SPDX-License-Identifier: Apache-2.0
"""Losses on points instead of pixels (Kirillov et al., PointRend, 2020, section 3.2).

Points come from PyTorch's global generator, so that a seed fixes them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['sample_points', 'uncertain_points']


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


def uncertain_points(
    logits: Tensor, num_points: int, oversample_ratio: float, importance_sample_ratio: float,
    masks: Tensor | None = None,
) -> Tensor:
    """Draw points for each mask, most of them where the mask's logit is nearest to zero.

    Args:
        logits: (M, h, w) mask logits.
        num_points: Points P per mask.
        oversample_ratio: Candidates per point.
        importance_sample_ratio: Fraction of the points that are the most uncertain candidates; the
            others are drawn anew.
        masks: (M, H, W), NaN where a pixel does not count: candidates that touch it come last.

    Returns:
        (M, P, 2) pairs (x, y) in [0, 1].
    """
    M, device, dtype = len(logits), logits.device, logits.dtype
    num_uncertain = int(importance_sample_ratio * num_points)
    candidates = torch.rand(M, int(num_points * oversample_ratio), 2, device=device, dtype=dtype)
    certainty = sample_points(logits[:, None], candidates)[:, 0].abs()
    if masks is not None:
        ignored = sample_points(masks[:, None], candidates)[:, 0].isnan()
        certainty = certainty.masked_fill(ignored, torch.inf)
    chosen = certainty.topk(num_uncertain, largest=False, sorted=False).indices
    uncertain = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
    others = torch.rand(M, num_points - num_uncertain, 2, device=device, dtype=dtype)
    return torch.cat((uncertain, others), 1)
