# SPDX-License-Identifier: Apache-2.0
"""Set loss of Mask2Former (Cheng et al., 2022, sections 3.2 and 3.3).

Every layer's queries are assigned anew to the masks of the image. The classes of all queries are
learned; masks only of the assigned ones, and only at points. Assignment needs no gradient, so full
maps of all queries never enter the graph: gradients flow through the maps of assigned queries.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor, nn

from .decoder import Predictions
from .matcher import LossWeights, match, matching_cost
from .points import PointDraws, pixel_table, read_logits, sample_points, uncertain_points
from .targets import Target

__all__ = ['Mask2FormerLoss']


class _Pairs(NamedTuple):
    """Queries and masks that belong together: K pairs in the batch, image by image, in each layer.

    Attributes:
        queries: (L, K) numbered through the batch.
        masks: (L, K) numbered through the batch.
        counts: Pairs of each image; K in all.
    """

    queries: Tensor
    masks: Tensor
    counts: list[int]


class Mask2FormerLoss(nn.Module):
    """Classification, binary cross-entropy and dice loss of every layer's predictions.

    Args:
        num_classes: Classes, without "no object".
        weights: Weights of the losses.
        num_points: Points per mask.
        oversample_ratio: Candidates per point.
        importance_sample_ratio: Fraction of the points that are chosen by uncertainty.
        exclude_ignored: Whether targets hold NaN, that is, pixels that do not count.
    """

    class_weight: Tensor

    def __init__(
        self, num_classes: int, weights: LossWeights, num_points: int, oversample_ratio: float,
        importance_sample_ratio: float, exclude_ignored: bool,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.weights = weights
        self.num_points = num_points
        self.num_candidates = int(num_points * oversample_ratio)
        self.num_uncertain = int(importance_sample_ratio * num_points)
        self.exclude_ignored = exclude_ignored
        class_weight = torch.ones(num_classes + 1)
        class_weight[-1] = weights.no_object
        self.register_buffer('class_weight', class_weight, persistent=False)

    def forward(self, predictions: Predictions, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            predictions: Of L layers for N images.
            targets: Of the N images.

        Returns:
            `loss_cls`, `loss_mask` and `loss_dice` of the last layer; those of the earlier layers
            under the prefixes `d0.`, `d1.` and so on.
        """
        with torch.autocast(predictions.mask_features.device.type, enabled=False):
            predictions = predictions.widened()
            L, N, Q = predictions.cls_logits.shape[:3]
            counts = [min(Q, len(target.labels)) for target in targets]
            draws = PointDraws.draw(
                L, N, sum(counts), self.num_points, self.num_candidates, self.num_uncertain,
                predictions.mask_features)
            pairs = _Pairs(*self._match(predictions, targets, draws.matching), counts)
            cls = self._classification_losses(predictions.cls_logits, pairs, targets)
            bce, dice = self._mask_losses(predictions, pairs, targets, draws)
            losses = {}
            for i in range(L):
                prefix = f'd{i}.' if i + 1 < L else ''
                losses[f'{prefix}loss_cls'] = self.weights.cls * cls[i]
                losses[f'{prefix}loss_mask'] = self.weights.mask * bce[i]
                losses[f'{prefix}loss_dice'] = self.weights.dice * dice[i]
        return losses

    @torch.no_grad()
    def _match(
        self, predictions: Predictions, targets: Sequence[Target], points: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Match the queries of all layers and images to masks; see `match`."""
        return match([
            self._cost(
                predictions.cls_logits[:, n], predictions.mask_embeds[:, n],
                predictions.mask_features[n], points[:, n], target)
            for n, target in enumerate(targets)])

    def _cost(
        self, cls_logits: Tensor, embeds: Tensor, features: Tensor, points: Tensor, target: Target
    ) -> Tensor:
        """Cost (L, Q, M) of giving each mask of one image to each query."""
        if not len(target.labels):
            return cls_logits[..., :0]
        masks = sample_points(target.masks[None], points.flatten(0, 1)[None])[0]
        masks = masks.view(-1, *points.shape[:2]).transpose(0, 1)
        table = pixel_table(features)
        # All layers in one batch, but a CPU works from its caches if it has one at a time.
        size = 1 if table.device.type == 'cpu' else len(embeds)
        parts = zip(*(torch.split(x, size) for x in (cls_logits, embeds, points, masks)),
                    strict=True)
        return torch.cat([
            matching_cost(cls, read_logits(part, table, at), target.labels, inside, self.weights)
            for cls, part, at, inside in parts])

    def _classification_losses(
        self, cls_logits: Tensor, pairs: _Pairs, targets: Sequence[Target]
    ) -> Tensor:
        """Cross-entropy of each layer, (L,): a weighted mean over all queries."""
        labels = torch.cat([target.labels for target in targets])
        wanted = torch.full(
            cls_logits.shape[:3], self.num_classes, device=cls_logits.device).flatten(1)
        wanted.scatter_(1, pairs.queries, labels[pairs.masks])
        class_weight = self.class_weight.to(cls_logits)
        loss = F.cross_entropy(
            cls_logits.flatten(0, 2), wanted.flatten(), class_weight, reduction='none')
        return loss.view_as(wanted).sum(1) / class_weight[wanted].sum(1)

    def _mask_losses(
        self, predictions: Predictions, pairs: _Pairs, targets: Sequence[Target],
        draws: PointDraws,
    ) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy and dice loss of each layer, (L,) and (L,)."""
        maps = _paired_maps(predictions, pairs)
        masks = torch.cat([target.masks for target in targets])
        points = self._choose(maps.detach(), masks, pairs, draws)
        logits = sample_points(maps.flatten(0, 1)[:, None], points.flatten(0, 1))
        logits = logits.view(points.shape[:3])
        inside = _read_masks(masks, pairs.masks, points)
        counts = (~inside.isnan()).to(logits.dtype)
        inside = inside.nan_to_num()
        # As in published training: an image without a mask counts as one.
        num_masks = logits.new_full((), sum(max(count, 1) for count in pairs.counts))
        all_reduce(num_masks, 'mean')
        bce = F.binary_cross_entropy_with_logits(logits, inside, counts, reduction='none')
        bce = bce.sum(-1) / counts.sum(-1).clamp(min=1)
        probability = logits.sigmoid() * counts
        overlap = 2 * (probability * inside).sum(-1) + 1
        dice = 1 - overlap / (probability.sum(-1) + inside.sum(-1) + 1)
        return bce.sum(1) / num_masks, dice.sum(1) / num_masks

    @torch.no_grad()
    def _choose(
        self, maps: Tensor, masks: Tensor, pairs: _Pairs, draws: PointDraws
    ) -> Tensor:
        """Choose the points (L, K, P, 2) at which maps (L, K, h, w) are compared with masks."""
        ignored = None
        if self.exclude_ignored:
            touched = _read_masks(masks, pairs.masks, draws.candidates)
            ignored = touched.isnan().flatten(0, 1)
        points = uncertain_points(
            maps.flatten(0, 1), draws.candidates.flatten(0, 1), draws.others.flatten(0, 1),
            self.num_points, ignored)
        return points.view(*maps.shape[:2], self.num_points, 2)


def _paired_maps(predictions: Predictions, pairs: _Pairs) -> Tensor:
    """Mask logits (L, K, h, w) of the queries that have a mask."""
    embeds = predictions.mask_embeds.flatten(1, 2)
    index = pairs.queries[..., None].expand(-1, -1, embeds.shape[-1])
    parts = torch.split(embeds.gather(1, index), pairs.counts, 1)
    return torch.cat([torch.einsum('lkc,chw->lkhw', part, features) for part, features in
                      zip(parts, predictions.mask_features, strict=True)], 1)


def _read_masks(masks: Tensor, of_pair: Tensor, points: Tensor) -> Tensor:
    """Read masks (M, H, W) at the points (L, K, P, 2) of pairs whose masks are (L, K).

    All layers' points of a mask are read at once, so that no mask is copied.

    Returns:
        (L, K, P).
    """
    (L, K, P), M = points.shape[:3], len(masks)
    pair_of = of_pair.new_zeros(L, M).scatter_(
        1, of_pair, torch.arange(K, device=masks.device).expand(L, K))
    layers = torch.arange(L, device=masks.device)[:, None]
    by_mask = points[layers, pair_of].transpose(0, 1).reshape(M, L * P, 2)
    return sample_points(masks[:, None], by_mask).view(M, L, P)[of_pair, layers]
