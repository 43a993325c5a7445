# SPDX-License-Identifier: Apache-2.0
"""Distance to the features of pre-training, so that training on one domain forgets less of them.

Hoyer et al. 2022, DAFormer (arXiv 2111.14887), section 3.3.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ['FeatureDistance', 'dominant_classes']


class FeatureDistance(nn.Module):
    """Mean L2 distance of the last features to those of the pre-trained backbone.

    Only cells count in which one class, of the chosen ones, covers most of the pixels.

    Args:
        reference: The pre-trained backbone, frozen.
        num_classes: C; labels from C up are ignored.
        weight: Weight of the loss.
        classes: Classes whose cells count; None for all. The original takes those of things, for
            which ImageNet has names.
        min_ratio: Share of a cell's pixels that its class must cover.
    """

    def __init__(
        self,
        reference: nn.Module,
        num_classes: int,
        weight: float = 0.005,
        classes: Sequence[int] | None = None,
        min_ratio: float = 0.75,
    ) -> None:
        super().__init__()
        self.reference = reference
        self.num_classes, self.weight, self.min_ratio = num_classes, weight, min_ratio
        self.classes = tuple(range(num_classes) if classes is None else classes)

    def forward(self, images: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        """Compute the weighted loss.

        Args:
            images: Normalised images (B, 3, H, W).
            features: The trained backbone's last map of them (B, D, h, w).
            labels: Train ids (B, H, W).
        """
        with torch.no_grad():
            expected = self.reference(images)[-1]
        distance = (features.float() - expected.float()).norm(dim=1)
        size = (distance.shape[-2], distance.shape[-1])
        dominant = dominant_classes(labels, self.num_classes, size, self.min_ratio)
        counted = torch.isin(dominant, dominant.new_tensor(self.classes))
        return self.weight * (distance * counted).sum() / counted.sum().clamp(min=1)


def dominant_classes(
    labels: Tensor, num_classes: int, size: tuple[int, int], min_ratio: float
) -> Tensor:
    """Find the class that covers most of each cell of a coarse grid.

    Args:
        labels: Train ids (B, H, W); those from `num_classes` up are ignored.
        num_classes: C.
        size: The grid (h, w).
        min_ratio: Share of a cell's pixels that the class must cover.

    Returns:
        Train ids (B, h, w); `num_classes` where no class covers enough.
    """
    ids = labels.clamp(max=num_classes).long()
    masks = F.one_hot(ids, num_classes + 1)[..., :num_classes].movedim(-1, 1).float()
    share, dominant = F.adaptive_avg_pool2d(masks, size).max(dim=1)
    return dominant.where(share >= min_ratio, num_classes)
