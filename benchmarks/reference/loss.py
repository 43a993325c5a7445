# SPDX-License-Identifier: Apache-2.0
"""Mask2Former's set loss from full maps of all queries, layer by layer.

It draws the same random numbers in the same order as `Mask2FormerLoss`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from crossearth.models.heads.mask2former.loss import Mask2FormerLoss

__all__ = ['PlainLoss', 'Truth']


class Truth(NamedTuple):
    """What one image holds.

    Attributes:
        labels: (M,) int64 class ids.
        masks: (M, H, W) int64, 1 inside.
    """

    labels: Tensor
    masks: Tensor

    @classmethod
    def of(cls, label: Tensor, ignore_index: int) -> 'Truth':
        """Split a label map (H, W), which must hold a class."""
        ids = torch.unique(label).long()
        ids = ids[ids != ignore_index]
        return cls(ids, torch.stack([(label == index).long() for index in ids]))


class PlainLoss(Mask2FormerLoss):
    """Costs with their graph, float masks made anew for every layer, matched maps cut out."""

    def forward(
        self, predictions: tuple[list[Tensor], list[Tensor]], targets: Sequence[Truth]
    ) -> dict[str, Tensor]:
        """Compute the losses, named as those of the class above."""
        losses = {}
        for index, (classes, masks) in enumerate(zip(*predictions, strict=True)):
            prefix = f'd{index}.' if index + 1 < len(predictions[0]) else ''
            found = self._layer(classes, masks, targets)
            losses |= {f'{prefix}{name}': value for name, value in found.items()}
        return losses

    def _layer(
        self, classes: Tensor, masks: Tensor, truths: Sequence[Truth]
    ) -> dict[str, Tensor]:
        labels = torch.full(classes.shape[:2], self.num_classes, device=classes.device)
        chosen = torch.zeros_like(labels, dtype=torch.bool)
        wanted = []
        for n, truth in enumerate(truths):
            rows, columns = self._match(classes[n], masks[n], truth)
            labels[n, rows], chosen[n, rows] = truth.labels[columns], True
            wanted.append(truth.masks[columns].to(masks.dtype))
        logits, inside = self._points(masks[chosen][:, None], torch.cat(wanted)[:, None])
        bce = F.binary_cross_entropy_with_logits(logits, inside)
        probability = logits.sigmoid()
        overlap = 2 * (probability * inside).sum(-1) + 1
        dice = 1 - overlap / (probability.sum(-1) + inside.sum(-1) + 1)
        cls = F.cross_entropy(
            classes.flatten(0, 1), labels.flatten(), self.class_weight.to(classes))
        return {'loss_cls': self.weights.cls * cls, 'loss_mask': self.weights.mask * bce,
                'loss_dice': self.weights.dice * dice.mean()}

    def _match(self, classes: Tensor, masks: Tensor, truth: Truth) -> tuple[Tensor, Tensor]:
        """Match one image's queries, (Q, classes + 1) and (Q, h, w), to its masks."""
        points = _draw(masks, 1, self.num_points)
        logits = _sample(masks[:, None], points.repeat(len(masks), 1, 1))
        inside = _sample(
            truth.masks.to(masks.dtype)[:, None], points.repeat(len(truth.masks), 1, 1))
        ones, zeros = (
            F.binary_cross_entropy_with_logits(logits, target, reduction='none')
            for target in (torch.ones_like(logits), torch.zeros_like(logits)))
        bce = (ones @ inside.T + zeros @ (1 - inside).T) / self.num_points
        probability = logits.sigmoid()
        overlap = 2 * probability @ inside.T + 1
        dice = 1 - overlap / (probability.sum(-1)[:, None] + inside.sum(-1) + 1)
        cost = (self.weights.mask * bce + self.weights.dice * dice
                - self.weights.cls * classes.softmax(-1)[:, truth.labels])
        pairs = linear_sum_assignment(cost.detach().cpu().numpy())
        rows, columns = (torch.as_tensor(side, device=masks.device) for side in pairs)
        return rows, columns

    def _points(self, maps: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Read (M, 1, h, w) maps and masks (M, P) at points, most of them uncertain ones."""
        others = self.num_points - self.num_uncertain
        with torch.no_grad():
            points = _draw(maps, len(maps), self.num_candidates)
            _, best = (-_sample(maps, points).abs()).topk(self.num_uncertain)
            points = points.gather(1, best[..., None].repeat(1, 1, 2))
            points = torch.cat([points, _draw(maps, len(maps), others)], 1)
            inside = _sample(wanted, points)
        return _sample(maps, points), inside


def _draw(like: Tensor, masks: int, points: int) -> Tensor:
    """Draw places (masks, points, 2) in [0, 1]."""
    return torch.rand(masks, points, 2, device=like.device, dtype=like.dtype)


def _sample(maps: Tensor, points: Tensor) -> Tensor:
    """Read maps (M, 1, h, w) at places (M, P, 2), giving (M, P)."""
    return F.grid_sample(maps, 2 * points[:, :, None] - 1, align_corners=False)[:, 0, :, 0]
