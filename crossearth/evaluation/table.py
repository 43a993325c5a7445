# SPDX-License-Identifier: Apache-2.0
"""Our numbers beside the paper's: runs sorted into the settings of the benchmark."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crossearth.benchmark import DATA_SETS, METHODS, SETTINGS, Setting, settings_of
from crossearth.errors import DataError

from .record import DomainReport, DomainResult
from .runs import Run
from .spread import Spread

__all__ = ['BenchmarkTable', 'Cell', 'FreeTable', 'method_key']

SHOWN = ('rein', 'crossearth')  # methods that have columns even before they are run
UNSEEN = 'mean over unseen'


def method_key(method: str) -> str:
    """The method's name in `Setting.paper`, or its own name if the paper does not have it."""
    by_title = {title: key for key, title in METHODS.items()}
    return by_title.get(method, method)


@dataclass(frozen=True)
class Cell:
    """One method in one setting.

    Args:
        setting: The setting.
        method: Key of the method.
        runs: Our runs, one per seed, ordered by seed; may be none.
    """

    setting: Setting
    method: str
    runs: tuple[Run, ...]

    @property
    def title(self) -> str:
        """Name of the method in print."""
        return METHODS.get(self.method, self.method)

    @property
    def results(self) -> tuple[DomainResult, ...]:
        """What each run found on the target."""
        return tuple(run.report.domains[self.setting.target.domain] for run in self.runs)

    @property
    def ours(self) -> Spread:
        """Our number, in percent: mIoU, or the IoU of the foreground (class 1) of two classes."""
        if self.setting.metric == 'IoU':
            return Spread(tuple(100 * float(result.scores.iou[1]) for result in self.results))
        return self.mean_iou

    @property
    def mean_iou(self) -> Spread:
        """Mean IoU over all classes, in percent."""
        return Spread(tuple(100 * result.scores.mean_iou for result in self.results))

    @property
    def class_iou(self) -> dict[str, Spread]:
        """IoU of each class, in percent; NaN where the target lacks it."""
        classes = DATA_SETS[self.setting.target.data_set].classes
        return {name: Spread(tuple(100 * float(result.scores.iou[index])
                                   for result in self.results))
                for index, name in enumerate(classes)}

    @property
    def paper(self) -> float:
        """The paper's number; NaN where it has none."""
        return self.setting.paper.get(self.method, math.nan)

    @property
    def difference(self) -> float:
        """Ours minus the paper's; NaN where one is missing."""
        return self.ours.mean - self.paper

    @property
    def notes(self) -> list[str]:
        """What a reader must know before comparing the numbers."""
        found = []
        counts = sorted({result.num_samples for result in self.results} - {self.setting.n_test})
        if counts:
            listed = ' and '.join(map(str, counts))
            found.append(f'tested on {listed} images, the benchmark has {self.setting.n_test}')
        if len({run.config_sha256 for run in self.runs}) > 1:
            found.append('the seeds were trained with different configs')
        return [f'{self.setting.id}, {self.title}: {note}.' for note in found]


@dataclass(frozen=True)
class FreeTable:
    """Runs outside the benchmark that answer the same question: one source, the same domains.

    Args:
        source: Domains that were trained on.
        seen: Tested domains that are a source.
        unseen: Tested domains that are not.
        metric: `mIoU`, or `IoU` of the foreground.
        rows: Runs by title of the row, ordered by seed.
        baselines: Runs that report a baseline, by its name; their numbers are equal.
    """

    source: tuple[str, ...]
    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    metric: str
    rows: Mapping[str, tuple[Run, ...]]
    baselines: Mapping[str, Run]

    def numbers(self, reports: Sequence[DomainReport], metric: str) -> dict[str, Spread]:
        """One number per domain, and the mean over the unseen ones, in percent."""
        found = {name: Spread(tuple(report.summary(name)[metric] for report in reports))
                 for name in (*self.seen, *self.unseen)}
        if self.unseen:
            found[UNSEEN] = Spread(tuple(
                report.mean(self.unseen)[metric] for report in reports))
        return found


class BenchmarkTable:
    """All settings of the benchmark with what has been run, and what was run beside it.

    Args:
        runs: Runs of any config. One named like a setting, or like all settings of a source
            (`casid_sub2all`), belongs to the benchmark if its source, target and classes do.

    Raises:
        DataError: Two runs have the same setting, method and seed, but different results.
    """

    def __init__(self, runs: Iterable[Run]) -> None:
        grouped: dict[tuple[str, str], list[Run]] = {}
        free: list[Run] = []
        for run in runs:
            answered = [found for found in settings_of(run.config) if _answers(run, found)]
            for found in answered:
                grouped.setdefault((found.id, method_key(run.method)), []).append(run)
            if not answered:
                free.append(run)
        used = {method for _, method in grouped} | set(SHOWN)
        self.methods = [*(key for key in METHODS if key in used), *sorted(used - METHODS.keys())]
        self.cells = {
            (found.id, method): Cell(found, method, _by_seed(
                grouped.get((found.id, method), []), [found.target.domain],
                f'{found.id}, {METHODS.get(method, method)}'))
            for found in SETTINGS for method in self.methods}
        self.free = _free_tables(free)

    @property
    def settings_run(self) -> int:
        """How many settings have a number of ours."""
        return len({cell.setting.id for cell in self.cells.values() if cell.runs})


def _answers(run: Run, found: Setting) -> bool:
    """Whether a run that has the setting's name also has its question."""
    target = found.target
    return (run.report.source == (found.source.domain,) and target.domain in run.report.domains
            and run.report.classes == DATA_SETS[target.data_set].classes)


def _by_seed(runs: Sequence[Run], domains: Iterable[str], place: str) -> tuple[Run, ...]:
    """One run per seed, after checking that those of the same seed agree."""
    chosen: dict[int | None, Run] = {}
    for run in runs:
        first = chosen.setdefault(run.seed, run)
        if not all(_equal(first.report, run.report, domain) for domain in domains):
            raise DataError(
                f'{place}, seed {run.seed}: {first.path} and {run.path} hold different results '
                f'(configs {first.config_sha256[:12]} and {run.config_sha256[:12]}, checkpoints '
                f'{first.checkpoint_sha256[:12]} and {run.checkpoint_sha256[:12]}). Give only the '
                'one that counts, or train each with a seed of its own.')
    return tuple(sorted(chosen.values(), key=lambda run: (run.seed is None, run.seed or 0)))


def _equal(one: DomainReport, other: DomainReport, domain: str) -> bool:
    return np.array_equal(one.domains[domain].matrix, other.domains[domain].matrix)


def _free_tables(runs: Sequence[Run]) -> list[FreeTable]:
    """Sort runs outside the benchmark by the question they answer."""
    questions: dict[tuple, list[Run]] = {}
    for run in runs:
        report = run.report
        key = (report.source, tuple(sorted(report.domains)), report.classes, report.foreground)
        questions.setdefault(key, []).append(run)
    return [_free_table(questions[key]) for key in sorted(questions, key=str)]


def _row_name(run: Run) -> str:
    """The config; those of studies are named after their seed, and their folder after the row."""
    of_study = run.config == f'seed{run.seed}' == run.path.parent.name
    return run.path.parent.parent.name if of_study else run.config


def _free_table(runs: Sequence[Run]) -> FreeTable:
    report = runs[0].report
    rows: dict[str, list[Run]] = {}
    baselines: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: (run.method, run.config)):
        rows.setdefault(f'{run.method} ({_row_name(run)})', []).append(run)
        for name, result in run.baselines.items():
            first = baselines.setdefault(name, run)
            if not all(_equal(first.baselines[name], result, domain) for domain in result.domains):
                raise DataError(
                    f'{first.path} and {run.path} hold different results of the baseline '
                    f"'{name}'. Test both on the same data, or give only one of them.")
    return FreeTable(
        report.source, report.seen, report.unseen, report.primary_name,
        {title: _by_seed(group, report.domains, title) for title, group in rows.items()},
        baselines)
