# SPDX-License-Identifier: Apache-2.0
"""From a label map to the set of masks that Mask2Former learns: one per class that is present."""

from collections.abc import Sequence
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor

from crossearth.errors import DataError

__all__ = ['Target', 'make_targets']


class Target(NamedTuple):
    """What one image holds.

    Attributes:
        labels: (M,) int64 class ids, one per mask.
        masks: (M, H, W) float32: 1 inside, 0 outside, NaN where a pixel does not count.
    """

    labels: Tensor
    masks: Tensor


def make_targets(
    labels: Sequence[Tensor], num_classes: int, ignore_index: int, exclude_ignored: bool,
    sources: Sequence[str],
) -> list[Target]:
    """Split label maps into one mask per class that is present.

    Args:
        labels: Of each image (H, W) class ids.
        num_classes: Classes of the model.
        ignore_index: Id of pixels without a class.
        exclude_ignored: If true, such pixels are NaN in every mask: whatever is interpolated from
            one becomes NaN too and so drops out of costs and losses. If false, they are 0.
        sources: Where the label maps come from, for the error message.

    Returns:
        Of each image the masks, none if no pixel has a class.

    Raises:
        DataError: A map holds an id that is no class.
    """
    ids = [i for i in range(num_classes) if i != ignore_index]
    classes = torch.tensor(ids, dtype=torch.long).to(labels[0].device, non_blocking=True)
    masks = [label == classes[:, None, None] for label in labels]
    known = [mask.any(0) | (label == ignore_index)
             for mask, label in zip(masks, labels, strict=True)]
    # All at once, because a GPU has to be waited for.
    found = torch.stack([torch.cat((mask.flatten(1).any(1), all_known.all()[None]))
                         for mask, all_known in zip(masks, known, strict=True)]).tolist()
    targets = []
    for mask, label, row, source in zip(masks, labels, found, sources, strict=True):
        *present, complete = row
        if not complete:
            _refuse(label, num_classes, ignore_index, source)
        chosen = torch.tensor([k for k, is_present in enumerate(present) if is_present],
                              dtype=torch.long).to(label.device, non_blocking=True)
        values = mask[chosen].to(torch.float32)
        if exclude_ignored:
            values.masked_fill_(label == ignore_index, torch.nan)
        targets.append(Target(classes[chosen], values))
    return targets


def _refuse(label: Tensor, num_classes: int, ignore_index: int, source: str) -> NoReturn:
    """Raise `DataError` about an id that is no class."""
    unknown = next(i for i in torch.unique(label).tolist()
                   if i != ignore_index and not 0 <= i < num_classes)
    raise DataError(
        f'Label id {unknown} is no class of a model with num_classes={num_classes}: label '
        f'map of {source}. Map the ids to 0..{num_classes - 1} and the rest to {ignore_index} '
        '(see reduce_zero_label and the label maps of the data set), or set num_classes.')
