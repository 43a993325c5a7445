# SPDX-License-Identifier: Apache-2.0
"""One-to-one assignment of queries to the masks of an image (Carion et al., DETR, 2020, Eq. 1)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

__all__ = ['LossWeights', 'match', 'matching_cost']


class LossWeights(NamedTuple):
    """Weights of the three losses, which are the weights of the three matching costs too.

    Attributes:
        cls: Weight of the classification.
        mask: Weight of the binary cross-entropy of masks.
        dice: Weight of the dice loss of masks.
        no_object: Weight of the class "no object" inside the classification.
    """

    cls: float = 2.0
    mask: float = 5.0
    dice: float = 5.0
    no_object: float = 0.1


def matching_cost(
    cls_logits: Tensor, mask_logits: Tensor, labels: Tensor, masks: Tensor, weights: LossWeights
) -> Tensor:
    """Cost of giving each mask to each query.

    Args:
        cls_logits: (Q, classes + 1).
        mask_logits: (Q, P) mask logits at P points.
        labels: (M,) class ids.
        masks: (M, P) masks at the same points; a point that is NaN in one is NaN in all and does
            not count.
        weights: Weights of the parts.

    Returns:
        (Q, M).
    """
    counts = (~masks[0].isnan()).to(mask_logits.dtype)
    inside = masks.nan_to_num().T
    # BCE(x, t) = softplus(x) - x t: all pairs by one product instead of two.
    bce = (F.softplus(mask_logits) @ counts)[:, None] - mask_logits @ inside
    probability = mask_logits.sigmoid()
    overlap = 2 * probability @ inside + 1
    dice = 1 - overlap / ((probability @ counts)[:, None] + inside.sum(0) + 1)
    classification = -cls_logits.softmax(-1)[:, labels]
    return (weights.cls * classification + weights.mask * bce / counts.sum().clamp(min=1)
            + weights.dice * dice)


def match(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Assign each mask to its own query at the least total cost (Hungarian method).

    Args:
        cost: (Q, M).

    Returns:
        Queries, ascending, and masks of the min(Q, M) pairs, each (min(Q, M),) int64.
    """
    # A diverged model has NaN costs: the loss shall show it, not the solver's exception.
    rows, columns = linear_sum_assignment(cost.nan_to_num().cpu().numpy())
    device = cost.device
    return torch.as_tensor(rows, device=device), torch.as_tensor(columns, device=device)
