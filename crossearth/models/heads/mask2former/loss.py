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
from .points import sample_points, uncertain_points
from .targets import Target

__all__ = ['Mask2FormerLoss']


class _Assignment(NamedTuple):
    """Result of one layer: M pairs in the batch, sorted by image, then by query.

    Attributes:
        labels: (N, Q) class that each query shall have.
        queries: For each image, the (M_n,) assigned queries.
        points: (M, P, 2) where the masks are compared.
        targets: (M, P) masks there, NaN where a point does not count.
    """

    labels: Tensor
    queries: list[Tensor]
    points: Tensor
    targets: Tensor


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
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
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
            layers = [self._assign(predictions, i, targets)
                      for i in range(len(predictions.cls_logits))]
            bce, dice = self._mask_losses(predictions, layers)
            losses = {}
            for i, layer in enumerate(layers):
                prefix = f'd{i}.' if i + 1 < len(layers) else ''
                cls = F.cross_entropy(
                    predictions.cls_logits[i].flatten(0, 1), layer.labels.flatten(),
                    self.class_weight.to(predictions.cls_logits))
                losses[f'{prefix}loss_cls'] = self.weights.cls * cls
                losses[f'{prefix}loss_mask'] = self.weights.mask * bce[i]
                losses[f'{prefix}loss_dice'] = self.weights.dice * dice[i]
        return losses

    @torch.no_grad()
    def _assign(
        self, predictions: Predictions, layer: int, targets: Sequence[Target]
    ) -> _Assignment:
        """Assign one layer's queries to masks and choose the points to compare."""
        maps = predictions.mask_logits(layer)
        labels = torch.full(
            maps.shape[:2], self.num_classes, dtype=torch.long, device=maps.device)
        queries, matched, masks = [], [], []
        for n, target in enumerate(targets):
            rows, columns = self._match(predictions.cls_logits[layer, n], maps[n], target)
            labels[n, rows] = target.labels[columns]
            queries.append(rows)
            matched.append(maps[n, rows])
            masks.append(target.masks[columns])
        all_masks = torch.cat(masks)
        points = uncertain_points(
            torch.cat(matched), self.num_points, self.oversample_ratio,
            self.importance_sample_ratio, all_masks if self.exclude_ignored else None)
        point_targets = sample_points(all_masks[:, None], points)[:, 0]
        return _Assignment(labels, queries, points, point_targets)

    def _match(self, cls_logits: Tensor, maps: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Match one image's queries, (Q, classes + 1) and (Q, h, w), to its masks."""
        # Drawn even if there is nothing to match: the random stream does not depend on the labels.
        points = torch.rand(1, self.num_points, 2, device=maps.device, dtype=maps.dtype)
        if not len(target.labels):
            return target.labels, target.labels
        mask_logits = sample_points(maps[None], points)[0]
        masks = sample_points(target.masks[None], points)[0]
        return match(matching_cost(cls_logits, mask_logits, target.labels, masks, self.weights))

    def _mask_losses(
        self, predictions: Predictions, layers: Sequence[_Assignment]
    ) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy and dice loss of each layer, (L,) and (L,)."""
        maps = torch.cat([
            torch.einsum('lmc,chw->lmhw', _select(embeds, [x.queries[n] for x in layers]), features)
            for n, (embeds, features) in enumerate(
                zip(predictions.mask_embeds.unbind(1), predictions.mask_features, strict=True))], 1)
        L, M = maps.shape[:2]
        points = torch.cat([x.points for x in layers])
        logits = sample_points(maps.flatten(0, 1)[:, None], points).view(L, M, self.num_points)
        targets = torch.stack([x.targets for x in layers])
        counts = (~targets.isnan()).to(logits.dtype)
        targets = targets.nan_to_num()
        # As in published training: an image without a mask counts as one.
        num_masks = logits.new_tensor(float(sum(max(len(q), 1) for q in layers[0].queries)))
        all_reduce(num_masks, 'mean')
        bce = F.binary_cross_entropy_with_logits(logits, targets, counts, reduction='none')
        bce = bce.sum(-1) / counts.sum(-1).clamp(min=1)
        probability = logits.sigmoid() * counts
        overlap = 2 * (probability * targets).sum(-1) + 1
        dice = 1 - overlap / (probability.sum(-1) + targets.sum(-1) + 1)
        return bce.sum(1) / num_masks, dice.sum(1) / num_masks


def _select(embeds: Tensor, queries: Sequence[Tensor]) -> Tensor:
    """Of (L, Q, C) the assigned queries of each layer, (L, M, C)."""
    index = torch.stack(list(queries))[..., None].expand(-1, -1, embeds.shape[-1])
    return embeds.gather(1, index)
