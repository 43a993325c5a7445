# SPDX-License-Identifier: Apache-2.0
"""Confusion matrices of label maps, counted exactly, and the scores that follow from them.

Counts are int64. A float32 histogram, which MMSegmentation uses, stops counting at 2^24 pixels of
one class: a single 5000 x 5000 scene is beyond that.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ['Scores', 'confusion', 'scores']


@dataclass(frozen=True)
class Scores:
    """Scores of one confusion matrix, as fractions.

    A class without a pixel in the ground truth is *absent*: its values are NaN and it is in no
    mean. Pixels wrongly given to an absent class still count against the classes that they were
    taken from. (Counting such a class as IoU 0, as some tools do, lets one stray pixel cost a whole
    class.)

    Args:
        present: Whether a class occurs in the ground truth, (C,).
        iou: Intersection over union, (C,).
        precision: Precision, (C,); NaN too for a class that was never predicted.
        recall: Recall, which is also the accuracy of the class, (C,).
        f1: F1 score, (C,); 0 for a class that was never predicted.
        overall_accuracy: Share of the labelled pixels that are right (aAcc); NaN without any pixel.
    """

    present: NDArray[np.bool_]
    iou: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    overall_accuracy: float

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes present in the ground truth; NaN without any."""
        return self._mean(self.iou)

    @property
    def mean_f1(self) -> float:
        """Mean F1 over the classes present in the ground truth; NaN without any."""
        return self._mean(self.f1)

    @property
    def mean_accuracy(self) -> float:
        """Mean recall over the classes present in the ground truth; NaN without any."""
        return self._mean(self.recall)

    def _mean(self, values: NDArray[np.float64]) -> float:
        return float(values[self.present].mean()) if self.present.any() else float('nan')


def confusion(
    prediction: Tensor, label: Tensor, num_classes: int, ignore_index: int = 255
) -> NDArray[np.int64]:
    """Count how often each true class was predicted as each class.

    Args:
        prediction: Predicted class of each pixel, integers of any shape. Values at ignored pixels
            are free.
        label: True class of each pixel, same shape.
        num_classes: Number of classes C.
        ignore_index: Label of the pixels that are not counted.

    Returns:
        Pixel counts (C, C): rows are the truth, columns the prediction.

    Raises:
        ValueError: Shapes differ, a type is no integer type, or a counted pixel has a value outside
            [0, C).
    """
    if prediction.shape != label.shape:
        raise ValueError(
            f'prediction {tuple(prediction.shape)} and label {tuple(label.shape)} differ in shape')
    for name, tensor in (('prediction', prediction), ('label', label)):
        if tensor.is_floating_point() or tensor.is_complex():
            raise ValueError(f'{name} holds {tensor.dtype}, not class numbers')
    counted = label != ignore_index
    truth, predicted = label[counted], prediction[counted]
    _check_range(truth, num_classes, f'label (ignore_index is {ignore_index})')
    _check_range(predicted, num_classes, 'prediction')
    # in place: a scene of 40 M pixels needs one int64 map, not three
    cell = truth.to(torch.int64, copy=True).mul_(num_classes).add_(predicted)
    counts = torch.bincount(cell, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).cpu().numpy()


def scores(matrix: NDArray[np.int64]) -> Scores:
    """Compute the scores of a confusion matrix (C, C) whose rows are the truth."""
    hit = matrix.diagonal().astype(np.float64)
    truth, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    present = truth > 0
    return Scores(
        present=present,
        iou=_ratio(hit, truth + predicted - hit, present),
        precision=_ratio(hit, predicted, present & (predicted > 0)),
        recall=_ratio(hit, truth, present),
        f1=_ratio(2 * hit, truth + predicted, present),
        overall_accuracy=float(hit.sum() / matrix.sum()) if present.any() else float('nan'),
    )


def _check_range(values: Tensor, num_classes: int, name: str) -> None:
    if values.numel() == 0:
        return
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= num_classes:
        bad = low if low < 0 else high
        raise ValueError(
            f'{name} holds the value {bad}, but classes run from 0 to {num_classes - 1}')


def _ratio(
    part: NDArray[np.float64], whole: NDArray[np.float64], where: NDArray[np.bool_]
) -> NDArray[np.float64]:
    out = np.full(part.shape, np.nan)
    np.divide(part, whole, out=out, where=where)
    return out
