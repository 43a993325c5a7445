# SPDX-License-Identifier: Apache-2.0
"""Hook that shows and keeps the result of every test."""

from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from crossearth.datasets import check_dataset
from crossearth.errors import ConfigError
from crossearth.registry import HOOKS

from .baselines import Baseline, fit_baselines, test_baselines
from .metrics import DomainIoUMetric
from .record import DomainReport
from .report import print_baselines, print_report, write_csv, write_json

__all__ = ['DomainReportHook']


@HOOKS.register_module()
class DomainReportHook(Hook):
    """Print the table of `DomainIoUMetric` and write it into the work folder, on the main process.

    A test writes `report.json` and `report.csv`; a validation writes `val_report.json` and
    `val_report.csv`, so that it never replaces the result of a test. The JSON says under `run`
    which config, method, seed and checkpoint it belongs to; training writes what it needs for that
    into each checkpoint.

    Args:
        baselines: Whether a test also reports the baselines of `crossearth.evaluation.baselines`,
            fitted on the data of `train_dataloader`.
    """

    def __init__(self, baselines: bool = False) -> None:
        self.baselines = baselines
        self._fitted: dict[str, Baseline] = {}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Write into a checkpoint which run it belongs to."""
        if facts := _run_facts(runner):
            checkpoint['meta']['run'] = dict(facts)

    def before_test_epoch(self, runner: Runner) -> None:
        """Fit the baselines: first, since a test may take hours and the source may be missing.

        Raises:
            ConfigError: The config names no training data.
            DataError: The training data are missing or broken.
        """
        if self.baselines and is_main_process():
            source = (runner.cfg.get('train_dataloader') or {}).get('dataset')
            if source is None:
                raise ConfigError(
                    'DomainReportHook(baselines=True) fits the baselines on the source, but the '
                    'config has no train_dataloader.dataset. Add it, or set baselines=False.')
            foregrounds = [metric.foreground for metric in _metrics(runner.test_loop)]
            self._fitted = fit_baselines(check_dataset(source), *foregrounds[:1])

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Report a test."""
        self._report(runner, runner.test_loop, 'report', self._fitted)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Report a validation."""
        self._report(runner, runner.val_loop, 'val_report', {})

    def _report(
        self, runner: Runner, loop: Any, stem: str, baselines: dict[str, Baseline]
    ) -> None:
        folder = Path(runner.work_dir)
        extra = {'run': dict(facts)} if (facts := _run_facts(runner)) else {}
        for metric in _metrics(loop):
            # only the main process has a report: mmengine computes metrics nowhere else
            if (report := metric.report) is not None:
                print_report(report)
                write_json(report, folder / f'{stem}.json', extra)
                write_csv(report, folder / f'{stem}.csv')
                if baselines:
                    write_json(report, folder / f'{stem}.json', extra | {
                        'baselines': _compare(report, baselines, loop.dataloader.dataset)})


def _compare(
    report: DomainReport, baselines: dict[str, Baseline], dataset: Any
) -> dict[str, Any]:
    """Test and print the baselines; give what is kept of them."""
    results = test_baselines(baselines, dataset, report)
    rules = {name: baseline.rule for name, baseline in baselines.items()}
    print_baselines(report, results, rules)
    return {name: {'rule': rules[name], **result.to_dict()} for name, result in results.items()}


def _metrics(loop: Any) -> list[DomainIoUMetric]:
    return [metric for metric in loop.evaluator.metrics if isinstance(metric, DomainIoUMetric)]


def _run_facts(runner: Runner) -> dict[str, Any] | None:
    """The facts that `build_runner` left at the model; a Runner made otherwise has none."""
    model = getattr(runner.model, 'module', runner.model)
    facts: dict[str, Any] | None = getattr(model, 'run_facts', None)
    return facts
