# SPDX-License-Identifier: Apache-2.0
"""From a label map to the set of masks that Mask2Former learns: one per class that is present."""

from typing import NamedTuple

import torch
from torch import Tensor

from crossearth.errors import DataError

__all__ = ['Target', 'make_target']


class Target(NamedTuple):
    """What one image holds.

    Attributes:
        labels: (M,) int64 class ids, one per mask.
        masks: (M, H, W) float32: 1 inside, 0 outside, NaN where a pixel does not count.
    """

    labels: Tensor
    masks: Tensor


def make_target(
    label: Tensor, num_classes: int, ignore_index: int, exclude_ignored: bool, source: str
) -> Target:
    """Split a label map into one mask per class that is present.

    Args:
        label: (H, W) class ids.
        num_classes: Classes of the model.
        ignore_index: Id of pixels without a class.
        exclude_ignored: If true, such pixels are NaN in every mask: whatever is interpolated from
            one becomes NaN too and so drops out of costs and losses. If false, they are 0.
        source: Where the label map comes from, for the error message.

    Returns:
        The masks, none if no pixel has a class.

    Raises:
        DataError: The map holds an id that is no class.
    """
    ids = torch.unique(label).long()
    ids = ids[ids != ignore_index]
    unknown = ids[(ids < 0) | (ids >= num_classes)].tolist()
    if unknown:
        raise DataError(
            f'Label id {unknown[0]} is no class of a model with num_classes={num_classes}: label '
            f'map of {source}. Map the ids to 0..{num_classes - 1} and the rest to {ignore_index} '
            '(see reduce_zero_label and the label maps of the data set), or set num_classes.')
    masks = (label == ids[:, None, None]).to(torch.float32)
    if exclude_ignored:
        masks.masked_fill_(label == ignore_index, torch.nan)
    return Target(ids, masks)
