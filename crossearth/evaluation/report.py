# SPDX-License-Identifier: Apache-2.0
"""Write and read the record of a test: table in the terminal, JSON, CSV, Markdown."""

import csv
import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from crossearth.errors import DataError
from crossearth.weight_files import write_atomically

from .record import DomainReport, DomainResult, clean
from .text_table import TextTable

__all__ = [
    'comparison_markdown',
    'print_baselines',
    'print_report',
    'read_report',
    'report_from_dict',
    'report_table',
    'write_csv',
    'write_json',
]

ABSENT = '–'  # noqa: RUF001 (the dash that typesetters use in tables)
FOOTNOTE = f'{ABSENT}: no pixel of this class in the ground truth of the domain; not in its means.'


def report_table(
    report: DomainReport, *, summary: bool = True, per_class: bool = True
) -> Table:
    """Lay out a report for the terminal, one row per domain.

    Args:
        report: The report.
        summary: Whether to show the number of images and the means.
        per_class: Whether to show the IoU of each class.
    """
    table = Table(title='IoU per class, %' if per_class else 'Means, %', title_justify='left')
    table.add_column('domain', no_wrap=True)
    columns = [
        *(['images'] if summary else []),
        *(report.classes if per_class else []),
        *(report.summary_names if summary else [])]
    for name in columns:
        style = 'bold' if name == report.primary_name else 'none'
        table.add_column(name, justify='right', min_width=5, overflow='fold', style=style)
    for group in (report.seen, report.unseen):
        for name in group:
            title = f'{name} (source)' if name in report.source else name
            cells = _cells(report, name)
            table.add_row(title, *(cells[column] for column in columns))
        table.add_section()
    if report.unseen and summary:
        cells = {key: _number(value) for key, value in report.mean(report.unseen).items()}
        cells['images'] = str(sum(report.domains[name].num_samples for name in report.unseen))
        row = [cells.get(column, '') for column in columns]
        table.add_row('mean over unseen', *row, style='cyan')
    if any(not result.scores.present.all() for result in report.domains.values()):
        table.caption, table.caption_justify = FOOTNOTE, 'left'
    return table


def _cells(report: DomainReport, name: str) -> dict[str, str]:
    result = report.domains[name]
    numbers = dict(zip(report.classes, 100 * result.scores.iou, strict=True))
    numbers |= report.summary(name)
    return {
        'images': str(result.num_samples), **{key: _number(v) for key, v in numbers.items()}}


def print_report(report: DomainReport, console: Console | None = None) -> None:
    """Print a report: in a pipe as wide as it needs to be, on a narrow terminal as two tables."""
    if console is None:
        console = Console(width=None if sys.stdout.isatty() else 240)
    table = report_table(report)
    unlimited = console.options.update(max_width=10_000)
    if Measurement.get(console, unlimited, table).maximum <= console.width:
        console.print(table)
    else:
        console.print(report_table(report, per_class=False))
        console.print(report_table(report, summary=False))


def print_baselines(
    report: DomainReport,
    baselines: Mapping[str, DomainReport],
    rules: Mapping[str, str],
    console: Console | None = None,
) -> None:
    """Print a model's numbers beside those of baselines.

    Args:
        report: The model's report.
        baselines: Reports of baselines on the same domains, by name.
        rules: What each baseline does.
        console: Where to; default stdout.
    """
    table = Table(title='Against baselines that know nothing, %', title_justify='left')
    table.add_column('domain', no_wrap=True)
    columns = {'model': report, **baselines}
    keys = [key for key in report.summary_names if key in ('IoU', 'mIoU')]
    for key in keys:
        for name in columns:
            table.add_column(f'{key}\n{name}', justify='right', min_width=5)
    for group in (report.seen, report.unseen):
        for name in group:
            title = f'{name} (source)' if name in report.source else name
            cells = [_number(other.summary(name)[key]) for key in keys
                     for other in columns.values()]
            table.add_row(title, *cells)
        table.add_section()
    if report.unseen:
        cells = [_number(other.mean(report.unseen)[key]) for key in keys
                 for other in columns.values()]
        table.add_row('mean over unseen', *cells, style='cyan')
    table.caption = '\n'.join(f'{name}: {rule}' for name, rule in rules.items())
    table.caption_justify = 'left'
    (console or Console(width=None if sys.stdout.isatty() else 240)).print(table)


def write_json(
    report: DomainReport, path: Path, extra: Mapping[str, Any] | None = None
) -> None:
    """Write a report as JSON, whole or not at all.

    Args:
        report: The report.
        path: The file.
        extra: What stands beside the report: `run`, the facts of the run that was tested, and
            `baselines`, the reports of baselines on the same images.
    """
    data = {**(extra or {}), **report.to_dict()}
    _write(path, json.dumps(data, indent=1, allow_nan=False) + '\n')


def write_csv(report: DomainReport, path: Path) -> None:
    """Write one row per domain as CSV, whole or not at all.

    Scores are percentages; the cells of absent classes are empty.
    """
    buffer = io.StringIO()
    classes = [f'IoU {name}' for name in report.classes]
    header = ['domain', 'unseen', 'num_samples', *report.summary_names, *classes]
    writer = csv.DictWriter(buffer, header, lineterminator='\n')
    writer.writeheader()
    for name, result in report.domains.items():
        numbers = {
            **report.summary(name), **dict(zip(classes, 100 * result.scores.iou, strict=True))}
        writer.writerow({
            'domain': name, 'unseen': int(name in report.unseen), 'num_samples': result.num_samples,
            **clean(numbers)})
    _write(path, buffer.getvalue())


def read_report(path: Path) -> DomainReport:
    """Read what `write_json` wrote.

    Raises:
        DataError: The file is missing or no report.
    """
    try:
        return report_from_dict(json.loads(Path(path).read_text(encoding='utf-8')))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f'{path} cannot be read as a report ({type(error).__name__}: {error}). '
            'Run the test again to write it anew.') from error


def report_from_dict(data: Mapping[str, Any]) -> DomainReport:
    """Make a report of what `DomainReport.to_dict` gave."""
    return DomainReport(
        classes=tuple(data['classes']),
        source=tuple(data['source']),
        foreground=data['foreground'],
        domains={
            name: DomainResult(np.array(row['confusion'], dtype=np.int64), row['num_samples'])
            for name, row in data['domains'].items()},
    )


def comparison_markdown(reports: Mapping[str, DomainReport]) -> str:
    """Compare methods in a Markdown table: one row per method, one column per domain.

    Args:
        reports: Reports by name of the method, tested on the same domains with the same source.

    Returns:
        The table; the best number of a column is bold.

    Raises:
        DataError: The reports differ in domains, source, classes, primary number or pixels.
    """
    first = _comparable(reports)
    columns = [*first.seen, *first.unseen]
    titles = [f'{name} (source)' if name in first.seen else name for name in columns]
    titles += ['mean over unseen'] if first.unseen else []
    rows = [_comparison_row(report, columns) for report in reports.values()]
    best = np.fmax.reduce(rows, axis=0)
    cells = [[method, *(f'**{_number(v)}**' if v == b else _number(v)
                        for v, b in zip(row, best, strict=True))]
             for method, row in zip(reports, rows, strict=True)]
    title = f'{first.primary_name}, %'
    return TextTable(title, [title, *titles], cells).markdown()


def _comparison_row(report: DomainReport, columns: Sequence[str]) -> list[float]:
    key, means = report.primary_name, report.mean(report.unseen)
    numbers = [report.summary(name)[key] for name in columns]
    numbers += [means[key]] if means else []
    return [round(number, 2) for number in numbers]  # as shown: equal numbers share the bold


def _comparable(reports: Mapping[str, DomainReport]) -> DomainReport:
    """Give the first report after checking that the others answer the same question."""
    if not reports:
        raise DataError('there is no report to compare. Test at least one method first.')
    (name, first), *others = reports.items()
    for other, report in others:
        ours, theirs = _question(first), _question(report)
        if different := [part for part in ours if ours[part] != theirs[part]]:
            part = different[0]
            raise DataError(
                f'reports of {name!r} and {other!r} cannot be compared: {part} is {ours[part]} in '
                f'one and {theirs[part]} in the other. Test both on the same data.')
    return first


def _question(report: DomainReport) -> dict[str, Any]:
    """What must be equal for two reports to be comparable."""
    return {
        'classes': report.classes,
        'foreground': report.foreground,
        'source': sorted(report.seen),
        'unseen': sorted(report.unseen),
        'labelled pixels': {
            name: int(result.matrix.sum()) for name, result in sorted(report.domains.items())},
    }


def _number(value: float) -> str:
    return ABSENT if math.isnan(value) else f'{value:.2f}'


def _write(path: Path, text: str) -> None:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
