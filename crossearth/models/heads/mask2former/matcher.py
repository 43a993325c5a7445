# SPDX-License-Identifier: Apache-2.0
"""One-to-one assignment of queries to the masks of an image (Carion et al., DETR, 2020, Eq. 1)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
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
    """Cost of giving each mask of an image to each query, for L layers.

    Args:
        cls_logits: (L, Q, classes + 1).
        mask_logits: (L, Q, P) mask logits at P points, other ones in each layer.
        labels: (M,) class ids.
        masks: (L, M, P) masks at the same points; a point that is NaN in one is NaN in all and does
            not count.
        weights: Weights of the parts.

    Returns:
        (L, Q, M).
    """
    valid = ~masks[:, :1].isnan()
    counts = valid.to(mask_logits.dtype).mT
    inside = masks.nan_to_num().mT
    # BCE(x, t) = softplus(x) - x t: all pairs by one product instead of two.
    bce = _softplus_sum(mask_logits, valid) - mask_logits @ inside
    probability = mask_logits.sigmoid()
    overlap = 2 * (probability @ inside) + 1
    dice = 1 - overlap / (probability @ counts + inside.sum(1, keepdim=True) + 1)
    classification = -cls_logits.softmax(-1)[..., labels]
    return (weights.cls * classification + weights.mask * bce / counts.sum(1, keepdim=True).clamp(1)
            + weights.dice * dice)


def _softplus_sum(x: Tensor, valid: Tensor) -> Tensor:
    """Sum softplus(x) over the valid ones of the last axis, which is kept with length 1.

    softplus(x) = max(x, 0) - log s with s = sigmoid(|x|) >= 1/2. The logarithms are added by
    multiplying eight s first, because on a CPU they take longer than all the rest.
    """
    s = x.abs().sigmoid_().masked_fill_(~valid, 1)
    eighth, left = divmod(s.shape[-1], 8)
    eights, rest = torch.split(s, [8 * eighth, left], -1)
    products = eights.reshape(*s.shape[:-1], 8, eighth).prod(-2)
    logs = torch.cat((products, rest), -1).log_().sum(-1, keepdim=True)
    return x.relu() @ valid.to(x.dtype).mT - logs


def match(costs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Assign each mask to its own query at the least total cost (Hungarian method).

    Args:
        costs: Of each image (L, Q, M), with the same L and Q; each layer is assigned by itself.

    Returns:
        Queries and masks of the K pairs, each (L, K) int64, image by image with queries ascending.
        An image gives min(Q, M) pairs. Both are numbered through the batch.
    """
    # All at once, because a GPU has to be waited for. A diverged model has NaN costs: the loss
    # shall show it, not the solver's exception.
    flat = torch.cat([cost.flatten() for cost in costs]).nan_to_num().cpu()
    parts, start = [], np.zeros((2, 1), dtype=np.int64)
    for cost, part in zip(costs, torch.split(flat, [c.numel() for c in costs]), strict=True):
        solved = [linear_sum_assignment(layer) for layer in part.view(cost.shape).numpy()]
        parts.append(np.array(solved) + start)
        start = start + np.array(cost.shape[1:])[:, None]
    pairs = torch.from_numpy(np.concatenate(parts, -1)).to(costs[0].device, non_blocking=True)
    return pairs[:, 0], pairs[:, 1]
