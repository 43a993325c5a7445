# SPDX-License-Identifier: Apache-2.0
"""The metric of domain generalisation: IoU per domain, and its mean over unseen domains."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from numpy.typing import NDArray

from crossearth.errors import ConfigError, DataError
from crossearth.registry import METRICS

from .confusion import confusion
from .record import DomainReport, DomainResult

__all__ = ['DomainIoUMetric']

Sample = tuple[str, NDArray[np.int64]]


@METRICS.register_module()
class DomainIoUMetric(BaseMetric):
    """IoU, accuracy and F1 per domain, exact for any batch, order, image size and process count.

    A domain is what a sample's metainfo says (`domain`), never a part of a path. Each mean over
    classes is taken over the classes present in the domain's ground truth; the mean over unseen
    domains is unweighted. The logged numbers are percentages: `<domain>/mIoU`, `<domain>/aAcc`,
    `<domain>/mF1`, `unseen_mIoU`, `source_mIoU`; in a binary task `<domain>/IoU`, `unseen_IoU` and
    `source_IoU` too. A number that is undefined is left out. The whole result is in `report` on the
    main process.

    Args:
        source: Domain or domains that the model was trained on.
        domains: Domains that must occur in the test; None for those that the data set says it
            holds.
        foreground: Class whose IoU is the primary number of a binary task.
        ignore_index: Label of the pixels that do not count.
        prefix: Word before every name in the log, to tell two such metrics apart.
    """

    default_prefix = ''  # the keys start with the domain

    def __init__(
        self,
        source: str | Sequence[str],
        domains: Sequence[str] | None = None,
        foreground: int | None = None,
        ignore_index: int = 255,
        prefix: str | None = None,
    ) -> None:
        # 'gpu' gathers through the process group, whatever its device; 'cpu' would do it through a
        # folder in the current directory, which the nodes of a cluster need not share.
        super().__init__(collect_device='gpu', prefix=prefix)
        self.source = (source,) if isinstance(source, str) else tuple(source)
        self.domains = domains
        self.foreground = foreground
        self.ignore_index = ignore_index
        self.report: DomainReport | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Count one batch.

        Args:
            data_batch: Not used.
            data_samples: Samples with `pred_sem_seg` and `gt_sem_seg` (1, H, W), `domain` and
                `img_path`.

        Raises:
            DataError: A sample has no domain, or its prediction and label do not fit together.
        """
        # One entry per sample, never one per batch or one running sum: with several processes
        # mmengine pads the data set so that all get equally many samples, interleaves the entries
        # of the processes and cuts the list at the size of the data set. Only an entry per sample
        # makes that cut remove just the padding.
        self.results.extend(self._count(sample) for sample in data_samples)

    def _count(self, sample: dict[str, Any]) -> Sample:
        path = sample.get('img_path', 'an image without img_path')
        if 'domain' not in sample:
            raise DataError(
                f'{path}: the sample names no domain. Let the data set set `domain` and list it in '
                'meta_keys of PackSegInputs.')
        prediction = sample['pred_sem_seg']['data'].squeeze(0)
        label = sample['gt_sem_seg']['data'].squeeze(0).to(prediction.device)
        try:
            counts = confusion(prediction, label, len(self._classes), self.ignore_index)
        except ValueError as error:
            raise DataError(
                f'{path}: {error}. Check that the label map belongs to this image and to the '
                'classes of the data set, and that the test pipeline loads labels after resizing '
                'the image.') from error
        return sample['domain'], counts

    @property
    def _classes(self) -> tuple[str, ...]:
        classes = tuple((self.dataset_meta or {}).get('classes', ()))
        if not classes:
            raise ConfigError(
                'DomainIoUMetric: the data set names no classes. Set `classes` in its metainfo.')
        if self.foreground is not None and not 0 <= self.foreground < len(classes):
            raise ConfigError(
                f'DomainIoUMetric: foreground={self.foreground} is none of the classes {classes}. '
                f'Choose 0 to {len(classes) - 1}.')
        return classes

    def compute_metrics(self, results: list[Sample]) -> dict[str, float]:
        """Sum the counts of all samples per domain.

        Args:
            results: Domain and counts of each sample of the data set.

        Returns:
            The numbers for the log, in percent.

        Raises:
            DataError: An expected domain has no sample, or a domain no labelled pixel.
        """
        groups: dict[str, list[NDArray[np.int64]]] = {}
        for domain, counts in results:
            groups.setdefault(domain, []).append(counts)
        order = self._check_complete(groups)
        self.report = DomainReport(
            classes=self._classes, source=self.source, foreground=self.foreground,
            domains={
                name: DomainResult(np.sum(groups[name], axis=0), len(groups[name]))
                for name in order})
        return _flatten(self.report)

    def _check_complete(self, groups: dict[str, list[NDArray[np.int64]]]) -> list[str]:
        """Give the domains in their order: the expected ones, then others by name."""
        expected = self.domains
        if expected is None:
            expected = (self.dataset_meta or {}).get('domains', ())
        if missing := [name for name in expected if name not in groups]:
            raise DataError(
                f'no sample of the domains {missing} was tested, only of {sorted(groups)}. Check '
                'the test data set, or name the domains to expect in '
                'DomainIoUMetric(domains=...).')
        if blank := [name for name, counts in groups.items() if not np.any(counts)]:
            raise DataError(
                f'the domains {blank} have no labelled pixel: all are {self.ignore_index} '
                '(ignored). Check their labels, or leave them out of the test.')
        return [*dict.fromkeys(expected), *sorted(groups.keys() - {*expected})]


def _flatten(report: DomainReport) -> dict[str, float]:
    """Name the numbers for the log; NaN is left out, since log files are JSON."""
    numbers = {
        f'{name}/{key}': value
        for name in report.domains for key, value in report.summary(name).items()}
    for group, names in (('unseen', report.unseen), ('source', report.seen)):
        means = report.mean(names)
        numbers.update({
            f'{group}_{key}': means[key] for key in ('IoU', 'mIoU') if key in means})
    return {key: round(value, 2) for key, value in numbers.items() if not math.isnan(value)}
