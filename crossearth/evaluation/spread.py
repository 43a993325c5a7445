# SPDX-License-Identifier: Apache-2.0
"""Compare the cells of an ablation over several seeds: mean and spread of each domain's number."""

import csv
import io
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .record import DomainReport
from .report import read_report
from .text_table import TextTable

if TYPE_CHECKING:
    from crossearth.engine.experiments import Trial

__all__ = ['Spread', 'SpreadTable', 'finite', 'remark_text']

UNSEEN = 'mean over unseen'


@dataclass(frozen=True)
class Spread:
    """One number, measured with several seeds.

    Args:
        values: The number of each seed, in percent; NaN where undefined.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds; NaN where one of them is undefined."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation of the sample; NaN for less than two seeds."""
        if len(self.values) < 2 or math.isnan(self.mean):
            return math.nan
        return statistics.stdev(self.values)

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return 'n/a'
        return f'{self.mean:.2f}' + (
            '' if math.isnan(self.deviation) else f' ± {self.deviation:.2f}')


class SpreadTable:
    """A table with one row per cell and one column per domain.

    Args:
        reports: Reports by cell and by seed, all of the same domains; a cell may have none yet.
        remarks: Further columns of each cell, such as what it cost, the same for every cell.
    """

    def __init__(
        self,
        reports: Mapping[str, Mapping[int, DomainReport]],
        remarks: Mapping[str, Mapping[str, str | float]] | None = None,
    ) -> None:
        self.remarks = {cell: dict((remarks or {}).get(cell, {})) for cell in reports}
        self.seeds = {cell: sorted(by_seed) for cell, by_seed in reports.items()}
        self.primary = ''
        self.columns: list[str] = []
        self.rows: dict[str, dict[str, Spread]] = {}
        for cell, by_seed in reports.items():
            numbers = [self._numbers(by_seed[seed]) for seed in self.seeds[cell]]
            self.rows[cell] = {
                column: Spread(tuple(row[column] for row in numbers))
                for column in (numbers[0] if numbers else ())}

    @classmethod
    def of_runs(
        cls,
        runs: 'Sequence[Trial]',
        remarks: Mapping[str, Mapping[str, str | float]] | None = None,
    ) -> 'SpreadTable':
        """Make the table of what is finished.

        Args:
            runs: Runs, finished or not.
            remarks: As for the class.
        """
        reports: dict[str, dict[int, DomainReport]] = {run.cell: {} for run in runs}
        for run in runs:
            if run.finished():
                reports[run.cell][run.seed] = read_report(run.result)
        return cls(reports, remarks)

    def write(self, folder: Path, **facts: Any) -> str:
        """Write `summary.md`, `summary.csv` and `summary.json`, with `facts` in the last.

        Returns:
            The first, as text.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (
                ('md', self.markdown()), ('csv', self.csv()), ('json', self.json(**facts))):
            (folder / f'summary.{name}').write_text(text)
        return self.markdown()

    def _numbers(self, report: DomainReport) -> dict[str, float]:
        """Primary number of each domain and of the mean over unseen ones, in percent."""
        self.primary = report.primary_name
        numbers = {
            f'{name} (source)' if name in report.seen else name: report.summary(name)[self.primary]
            for name in (*report.seen, *report.unseen)}
        if report.unseen:
            numbers[UNSEEN] = report.mean(report.unseen)[self.primary]
        self.columns = list(numbers)
        return numbers

    def _remark_names(self) -> list[str]:
        return list(next((row for row in self.remarks.values() if row), {}))

    def markdown(self) -> str:
        """Give the table in Markdown: mean ± standard deviation, in percent."""
        title = f'{self.primary}, %'
        header = [title, 'seeds', *self.columns, *self._remark_names()]
        rows = [[cell, str(len(self.seeds[cell])),
                 *(str(row.get(column, Spread(()))) for column in self.columns),
                 *map(remark_text, self.remarks[cell].values())]
                for cell, row in self.rows.items()]
        return TextTable(title, header, rows).markdown()

    def csv(self) -> str:
        """Give the table as CSV: two columns, mean and deviation, per domain."""
        header = ['cell', 'seeds', *(f'{column} {part}' for column in self.columns
                                     for part in ('mean', 'deviation')),
                  *self._remark_names()]
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator='\n')
        writer.writerow(header)
        for cell, row in self.rows.items():
            spreads = [row.get(column, Spread(())) for column in self.columns]
            numbers = [n for spread in spreads for n in (spread.mean, spread.deviation)]
            writer.writerow([cell, len(self.seeds[cell]),
                             *('' if math.isnan(n) else f'{n:.4f}' for n in numbers),
                             *self.remarks[cell].values()])
        return buffer.getvalue()

    def json(self, **facts: Any) -> str:
        """Give every seed's numbers as JSON, after `facts` about the runs."""
        cells = {
            cell: {'seeds': self.seeds[cell], **{
                column: {'values': [finite(v) for v in spread.values],
                         'mean': finite(spread.mean), 'deviation': finite(spread.deviation)}
                for column, spread in row.items()}, **self.remarks[cell]}
            for cell, row in self.rows.items()}
        return json.dumps({**facts, 'primary': self.primary, 'cells': cells}, indent=1) + '\n'


def remark_text(value: str | float) -> str:
    """Give a remark as the cell of a table: numbers in three digits."""
    return value if isinstance(value, str) else f'{value:,.3g}' if value < 1000 else f'{value:,.0f}'


def finite(number: float) -> float | None:
    """Give a number for JSON, which has no NaN."""
    return None if math.isnan(number) else round(number, 4)
