# SPDX-License-Identifier: Apache-2.0
"""What a test found, per domain.

The record holds confusion matrices only; every score is derived from them, so records written by
different versions can always be compared.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .confusion import Scores, scores

__all__ = ['DomainReport', 'DomainResult', 'clean']


@dataclass(frozen=True)
class DomainResult:
    """Counts of one domain.

    Args:
        matrix: Pixel counts (C, C), rows are the truth.
        num_samples: How many images were tested.
    """

    matrix: NDArray[np.int64]
    num_samples: int

    @cached_property
    def scores(self) -> Scores:
        """The scores of the matrix."""
        return scores(self.matrix)


@dataclass(frozen=True)
class DomainReport:
    """Result of one test on several domains.

    Args:
        classes: Names of the classes.
        source: Domains that the model was trained on; every other one is unseen.
        domains: Results by domain, in the order of the tables.
        foreground: Class whose IoU is the primary number of a binary task; None for the mean over
            classes.
    """

    classes: tuple[str, ...]
    source: tuple[str, ...]
    domains: Mapping[str, DomainResult]
    foreground: int | None = None

    @property
    def unseen(self) -> tuple[str, ...]:
        """Names of the tested domains that are no source."""
        return tuple(name for name in self.domains if name not in self.source)

    @property
    def seen(self) -> tuple[str, ...]:
        """Names of the tested domains that are a source."""
        return tuple(name for name in self.domains if name in self.source)

    @property
    def primary_name(self) -> str:
        """Name of the primary number: `mIoU`, or `IoU` (of the foreground) in a binary task."""
        return 'mIoU' if self.foreground is None else 'IoU'

    @property
    def summary_names(self) -> tuple[str, ...]:
        """Names of the numbers of `summary`, the primary one first."""
        names = ('mIoU', 'aAcc', 'mF1')
        return names if self.foreground is None else ('IoU', *names)

    def summary(self, name: str) -> dict[str, float]:
        """Numbers of one domain in percent; NaN where undefined."""
        found = self.domains[name].scores
        values = [found.mean_iou, found.overall_accuracy, found.mean_f1]
        if self.foreground is not None:
            values.insert(0, float(found.iou[self.foreground]))
        return {key: 100 * v for key, v in zip(self.summary_names, values, strict=True)}

    def mean(self, names: Sequence[str]) -> dict[str, float]:
        """Unweighted mean of `summary` over domains; NaN where one of them is undefined."""
        rows = [self.summary(name) for name in names]
        return {
            key: float(np.mean([row[key] for row in rows])) for key in self.summary_names if rows}

    def to_dict(self) -> dict[str, Any]:
        """Give counts and scores (percent, None where undefined) as plain data for JSON."""
        return {
            'classes': list(self.classes),
            'source': list(self.source),
            'foreground': self.foreground,
            'mean_over_unseen': clean(self.mean(self.unseen)),
            'mean_over_source': clean(self.mean(self.seen)),
            'domains': {name: self._domain_dict(name) for name in self.domains},
        }

    def _domain_dict(self, name: str) -> dict[str, Any]:
        result = self.domains[name]
        found = result.scores
        columns = {
            'IoU': found.iou, 'precision': found.precision, 'recall': found.recall, 'F1': found.f1}
        return {
            'unseen': name in self.unseen,
            'num_samples': result.num_samples,
            **clean(self.summary(name)),
            'classes': {
                title: clean({key: 100 * values[index] for key, values in columns.items()})
                for index, title in enumerate(self.classes)},
            'confusion': result.matrix.tolist(),
        }


def clean(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """Round percentages to 1e-4; NaN, which JSON does not have, becomes None."""
    return {key: None if math.isnan(v) else round(float(v), 4) for key, v in numbers.items()}
