# SPDX-License-Identifier: Apache-2.0
"""The set loss of Mask2Former as its papers tell it: layer by layer, image by image, full maps."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

__all__ = ['plain_losses']


def plain_losses(
    cls_logits: Tensor, mask_logits: Tensor, labels: Sequence[Tensor], classes: int, points: int,
    exclude: bool,
) -> dict[str, Tensor]:
    """Losses of logits (L, N, Q, classes + 1) and (L, N, Q, h, w), with the published weights.

    Random points are drawn in this order for each layer: those of the matching for each image, then
    three times the points for each mask of the batch, then a quarter of them for each mask.
    """
    losses, (layers, images) = {}, cls_logits.shape[:2]
    masks = [split(label, exclude) for label in labels]
    count = sum(max(min(len(ids), cls_logits.shape[2]), 1) for ids, _ in masks)
    for i in range(layers):
        wanted = torch.full(cls_logits.shape[1:3], classes)
        logits, inside = [], []
        for n in range(images):
            at = torch.rand(points, 2, dtype=mask_logits.dtype)
            for query, mask in pairs(cls_logits[i, n], mask_logits[i, n], *masks[n], at):
                wanted[n, query] = masks[n][0][mask]
                logits.append(mask_logits[i, n, query])
                inside.append(masks[n][1][mask])
        bce, dice = mask_losses(logits, inside, points, mask_logits)
        weight = torch.ones(classes + 1, dtype=cls_logits.dtype)
        weight[-1] = 0.1
        prefix = f'd{i}.' if i + 1 < layers else ''
        losses[f'{prefix}loss_cls'] = 2 * F.cross_entropy(
            cls_logits[i].flatten(0, 1), wanted.flatten(), weight)
        losses[f'{prefix}loss_mask'] = 5 * bce / count
        losses[f'{prefix}loss_dice'] = 5 * dice / count
    return losses


def split(label: Tensor, exclude: bool) -> tuple[Tensor, Tensor]:
    """Ids of the classes that are present, and their masks, NaN where a pixel does not count."""
    ids = label.unique()
    ids = ids[ids != 255]
    masks = (label == ids[:, None, None]).double()
    return ids, masks.where(label != 255, torch.nan) if exclude else masks


def read(mask: Tensor, at: Tensor) -> Tensor:
    """Read a map (h, w) at points (P, 2)."""
    found = F.grid_sample(mask[None, None], 2 * at[None, None] - 1, align_corners=False)
    return found.flatten()


@torch.no_grad()
def pairs(
    cls_logits: Tensor, mask_logits: Tensor, ids: Tensor, masks: Tensor, at: Tensor
) -> list[tuple[int, int]]:
    """Queries and masks of the cheapest assignment, queries ascending."""
    cost = torch.zeros(len(mask_logits), len(masks))
    for q, m in ((q, m) for q in range(len(mask_logits)) for m in range(len(masks))):
        inside = read(masks[m], at)
        valid = ~inside.isnan()
        x, t = read(mask_logits[q], at)[valid], inside[valid]
        bce = F.binary_cross_entropy_with_logits(x, t) if len(t) else 0
        p = x.sigmoid()
        dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
        cost[q, m] = -2 * cls_logits[q].softmax(-1)[ids[m]] + 5 * bce + 5 * dice
    return list(zip(*linear_sum_assignment(cost), strict=True))


def mask_losses(
    logits: Sequence[Tensor], masks: Sequence[Tensor], points: int, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Sums of both losses over the pairs of one layer."""
    candidates = torch.rand(len(logits), 3 * points, 2, dtype=like.dtype)
    uncertain = int(0.75 * points)
    others = torch.rand(len(logits), points - uncertain, 2, dtype=like.dtype)
    bce = dice = 0 * like.sum()
    for logit, mask, candidate, other in zip(logits, masks, candidates, others, strict=True):
        certainty = read(logit.detach(), candidate).abs()
        certainty[read(mask, candidate).isnan()] = torch.inf
        at = torch.cat((candidate[certainty.argsort()[:uncertain]], other))
        valid = ~read(mask, at).isnan()
        if not valid.any():
            continue
        x, t = read(logit, at)[valid], read(mask, at)[valid]
        p = x.sigmoid()
        bce = bce + F.binary_cross_entropy_with_logits(x, t)
        dice = dice + 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
    return bce, dice
