# SPDX-License-Identifier: Apache-2.0
"""Hook that shows and keeps the result of every test."""

from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from crossearth.registry import HOOKS

from .metrics import DomainIoUMetric
from .report import print_report, write_csv, write_json

__all__ = ['DomainReportHook']


@HOOKS.register_module()
class DomainReportHook(Hook):
    """Print the table of `DomainIoUMetric` and write it into the work folder, on the main process.

    A test writes `report.json` and `report.csv`; a validation writes `val_report.json` and
    `val_report.csv`, so that it never replaces the result of a test.
    """

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Report a test."""
        self._report(runner.test_loop, runner.work_dir, 'report')

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Report a validation."""
        self._report(runner.val_loop, runner.work_dir, 'val_report')

    def _report(self, loop: Any, work_dir: str, stem: str) -> None:
        for metric in loop.evaluator.metrics:
            # only the main process has a report: mmengine computes metrics nowhere else
            if isinstance(metric, DomainIoUMetric) and metric.report is not None:
                print_report(metric.report)
                write_json(metric.report, Path(work_dir) / f'{stem}.json')
                write_csv(metric.report, Path(work_dir) / f'{stem}.csv')
