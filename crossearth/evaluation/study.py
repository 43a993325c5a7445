# SPDX-License-Identifier: Apache-2.0
"""Several methods trained on each of several sources: what the runs say together.

Every method has the same sources and seeds, so two of them are compared pair by pair.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from .paired import LEVEL, Difference, bootstrap_difference, differences
from .record import DomainReport
from .spread import UNSEEN, Spread, finite, remark_text
from .text_table import TextTable

__all__ = ['Study', 'StudyRun']

SOURCE_DOMAIN = 'source domain'
MEANS_NOTE = ('Mean ± standard deviation over all finished runs, that is, over sources and seeds; '
              'the last columns over the seeds of one source, on the domains unseen from there.')
DIFFERENCES_NOTE = (
    'Mean over the pairs of source and seed that both methods have finished, and its '
    f'{100 * LEVEL:.0f} % bootstrap interval, for which sources and then seeds of each are drawn. '
    "A domain's column is over the runs that did not train on it.")

Numbers = dict[tuple[str, int], float]


@dataclass(frozen=True)
class StudyRun:
    """One run that was tested.

    Args:
        source: What it was trained on.
        method: Name of its method.
        seed: Its seed.
        report: What the test found.
        facts: Further columns, such as the hash of its config.
    """

    source: str
    method: str
    seed: int
    report: DomainReport
    facts: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """Runs of several methods.

    Args:
        runs: Those that are finished, at most one for each method, source and seed.
        methods: The rows, in this order.
        sources: What the methods were trained on, one after the other.
        baseline: The method that the others are compared with; None for no comparison.
        remarks: Further columns of each method.
    """

    runs: Sequence[StudyRun]
    methods: Sequence[str]
    sources: Sequence[str]
    baseline: str | None = None
    remarks: Mapping[str, Mapping[str, str | float]] = field(default_factory=dict)

    @cached_property
    def domains(self) -> list[str]:
        """Domains that were unseen in some run, in the order of the tests."""
        return list(dict.fromkeys(name for run in self.runs for name in run.report.unseen))

    @cached_property
    def subjects(self) -> list[str]:
        """What there are numbers about, and which are compared."""
        tested = any(run.report.seen for run in self.runs)  # the source may be for training only
        return [UNSEEN, *([SOURCE_DOMAIN] if tested else []), *self.domains]

    @property
    def primary(self) -> str:
        """Name of the number that is compared."""
        return next((run.report.primary_name for run in self.runs), 'mIoU')

    def numbers(self, method: str) -> dict[str, Numbers]:
        """Numbers of a method in percent, by what they are about and by source and seed."""
        found: dict[str, Numbers] = {name: {} for name in self.subjects}
        for run in self.runs:
            if run.method == method:
                for name, domains in _parts(run.report).items():
                    found[name][run.source, run.seed] = run.report.mean(domains)[self.primary]
        return found

    @cached_property
    def spreads(self) -> dict[str, dict[str, Spread]]:
        """Mean and spread of each method: over all runs, then of each source on unseen domains."""
        rows = {}
        for method in self.methods:
            numbers = self.numbers(method)
            rows[method] = {name: Spread(tuple(numbers[name].values()))
                            for name in self.subjects if name not in self.domains}
            rows[method] |= {
                f'from {source}': Spread(tuple(
                    value for key, value in numbers[UNSEEN].items() if key[0] == source))
                for source in self.sources}
        return rows

    @cached_property
    def differences(self) -> dict[str, dict[str, Difference]]:
        """Paired differences of the other methods to the baseline, by what they are about."""
        if self.baseline is None:
            return {}
        ground = self.numbers(self.baseline)
        return {
            method: {name: bootstrap_difference([*differences(found, ground[name]).values()])
                     for name, found in self.numbers(method).items()}
            for method in self.methods if method != self.baseline}

    def means_table(self) -> TextTable:
        """Mean and spread of each method, with its remarks."""
        header = [f'{self.primary}, %', 'runs', *next(iter(self.spreads.values()), ()),
                  *next((row for row in self.remarks.values()), ())]
        rows = [[method, str(len(spreads[UNSEEN].values)), *map(str, spreads.values()),
                 *map(remark_text, self.remarks.get(method, {}).values())]
                for method, spreads in self.spreads.items()]
        return TextTable('Means', header, rows, notes=[MEANS_NOTE])

    def differences_table(self) -> TextTable:
        """Paired differences to the baseline with their intervals."""
        header = [f'{self.primary}, points above {self.baseline}', 'pairs', *self.subjects]
        rows = [[method, str(row[UNSEEN].pairs), *map(str, row.values())]
                for method, row in self.differences.items()]
        return TextTable('Differences', header, rows, notes=[DIFFERENCES_NOTE])

    def write_means(self, folder: Path, **facts: Any) -> str:
        """Write `summary.md`, `summary.csv` and `summary.json`, with `facts` in the last.

        Returns:
            The first, as text.
        """
        text = self.means_table().markdown()
        rows = [{'method': method, 'runs': len(spreads[UNSEEN].values), **{
            f'{name} {part}': getattr(spread, part)
            for name, spread in spreads.items() for part in ('mean', 'deviation')},
            **self.remarks.get(method, {})} for method, spreads in self.spreads.items()]
        data = {**facts, 'primary': self.primary, 'methods': {
            row['method']: {key: _plain(value) for key, value in row.items() if key != 'method'}
            for row in rows}, 'differences': self.differences_data()}
        _write(folder, 'summary.md', text)
        _write(folder, 'summary.csv', _csv(rows))
        _write(folder, 'summary.json', json.dumps(data, indent=1) + '\n')
        return text

    def write_differences(self, folder: Path) -> str:
        """Write `differences.md` and `differences.csv`; nothing without a baseline.

        Returns:
            The first, as text.
        """
        if not self.differences:
            return ''
        text = self.differences_table().markdown()
        _write(folder, 'differences.md', text)
        _write(folder, 'differences.csv', _csv(
            {'method': method, 'baseline': self.baseline, 'on': name, **vars(found)}
            for method, row in self.differences.items() for name, found in row.items()))
        return text

    def write_runs(self, folder: Path) -> None:
        """Write `runs.csv`, a row for each run, its domains beside its facts."""
        domains = list(dict.fromkeys(name for run in self.runs for name in run.report.domains))
        rows = [{'source': run.source, 'method': run.method, 'seed': run.seed, **{
            name: run.report.summary(name)[self.primary] for name in run.report.domains},
            UNSEEN: run.report.mean(run.report.unseen).get(self.primary, math.nan), **run.facts}
            for run in self.runs]
        names = ['source', 'method', 'seed', *domains, UNSEEN]
        _write(folder, 'runs.csv', _csv(rows, names))

    def differences_data(self) -> dict[str, Any]:
        """Paired differences as plain data for JSON; None where undefined."""
        return {'baseline': self.baseline, 'level': LEVEL, 'methods': {
            method: {name: {key: _plain(value) for key, value in vars(found).items()}
                     for name, found in row.items()} for method, row in self.differences.items()}}


def _parts(report: DomainReport) -> dict[str, tuple[str, ...]]:
    """What the numbers of a run are about, and the domains that each is the mean of."""
    parts = {UNSEEN: report.unseen, SOURCE_DOMAIN: report.seen,
             **{name: (name,) for name in report.unseen}}
    return {name: domains for name, domains in parts.items() if domains}


def _csv(rows: Iterable[Mapping[str, Any]], names: Sequence[str] = ()) -> str:
    """Rows as CSV: `names` first, then what else they have; NaN is empty."""
    rows = list(rows)
    names = list(dict.fromkeys([*names, *(key for row in rows for key in row)]))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, lineterminator='\n')
    writer.writeheader()
    for row in rows:
        writer.writerow({
            key: ('' if math.isnan(value) else f'{value:.4f}') if isinstance(value, float)
            else value for key, value in row.items()})
    return buffer.getvalue()


def _plain(value: Any) -> Any:
    return finite(value) if isinstance(value, float) else value


def _write(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding='utf-8')
