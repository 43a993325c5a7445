# SPDX-License-Identifier: Apache-2.0
"""A `BenchmarkTable` as Markdown, LaTeX, CSV and JSON."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crossearth.benchmark import METHODS, SETTINGS, TABLES, Setting

from .record import DomainReport
from .report import ABSENT
from .runs import Run
from .spread import Spread
from .table import BenchmarkTable, Cell, FreeTable
from .text_table import TextTable

__all__ = ['table_csv', 'table_json', 'table_latex', 'table_markdown']

DIGITS = 12  # of a hash, where a reader compares it
LEGEND = (
    'Percent on the target: mIoU over all classes, or IoU of the foreground (building, road) where '
    "there are two. *ours*: mean ± standard deviation over seeds (number of seeds); *paper*: the "
    "same method in CrossEarth, Tables 3 to 7; Δ: ours minus the paper's. An empty cell was not "
    'run, a † is explained below its table.')


def table_markdown(table: BenchmarkTable, skipped: Mapping[Path, str]) -> str:
    """Give the page: a section per table of the paper, runs outside the benchmark, files."""
    parts = [
        '# Results on the RSDG benchmark',
        f'{table.settings_run} of {len(SETTINGS)} settings have been run. {LEGEND}',
        '![Our numbers and the paper\'s, one axis per setting](radar.png)']
    for title in dict.fromkeys(TABLES.values()):
        parts += [f'## {title}', _group_table(table, title).markdown().rstrip()]
        parts += _origins((cell.setting.id, cell.runs) for cell in _cells(table, title))
    if table.free:
        parts.append('## Outside the benchmark')
    for free in table.free:
        parts += [f'### {_free_title(free)}', _free_table(free).markdown().rstrip()]
        parts += _origins(free.rows.items())
    if skipped:
        parts += ['## Files left out', '\n'.join(
            f'* `{path.as_posix()}`: {reason}.' for path, reason in skipped.items())]
    return '\n\n'.join(parts) + '\n'


def table_latex(table: BenchmarkTable) -> str:
    r"""Give a LaTeX `table` for each section; the origin of each number stands in comments."""
    parts = [r'% needs \usepackage{booktabs}']
    for title in dict.fromkeys(TABLES.values()):
        cells = _cells(table, title)
        parts += [*_comments((f'{cell.setting.id}, {cell.title}', cell.runs) for cell in cells),
                  _group_table(table, title).latex()]
    for free in table.free:
        parts += [*_comments(free.rows.items()), _free_table(free).latex()]
    return '\n'.join(parts)


def table_csv(table: BenchmarkTable) -> str:
    """Give one row per setting and method, empty where nothing was run, then the other runs."""
    buffer = io.StringIO()
    names = ['table', 'setting', 'config', 'gap', 'source', 'target', 'method', 'metric', 'ours',
             'deviation', 'seeds', 'paper', 'difference', 'mIoU', 'mIoU_deviation', 'reports',
             'config_sha256', 'checkpoint_sha256']
    writer = csv.DictWriter(buffer, names, lineterminator='\n')
    writer.writeheader()
    writer.writerows([*map(_cell_row, table.cells.values()),
                      *(row for free in table.free for row in _free_rows(free))])
    return buffer.getvalue()


def table_json(table: BenchmarkTable, skipped: Mapping[Path, str]) -> str:
    """Give everything, each number with its report, config hash and checkpoint hash."""
    data = {
        'settings': [
            {**_setting_facts(found), 'methods': {
                method: _cell_json(table.cells[found.id, method]) for method in table.methods}}
            for found in SETTINGS],
        'outside': [_free_json(free) for free in table.free],
        'skipped': {path.as_posix(): reason for path, reason in skipped.items()}}
    return json.dumps(data, indent=1, allow_nan=False) + '\n'


# ------------------------------------------------------------------------------------- the tables

def _cells(table: BenchmarkTable, title: str) -> list[Cell]:
    return [cell for cell in table.cells.values() if cell.setting.table == title]


def _group_table(table: BenchmarkTable, title: str) -> TextTable:
    settings = [found for found in SETTINGS if found.table == title]
    header, groups = ['setting', 'gap', 'metric'], {}
    for method in table.methods:
        groups[METHODS.get(method, method)] = (len(header), len(header) + 2)
        header += ['ours', 'paper', 'Δ']
    rows = [[found.id, found.gap.replace('+', ', '), found.metric, *(
        text for method in table.methods for text in _texts(table.cells[found.id, method]))]
        for found in settings]
    notes = [f'† {note}' for cell in _cells(table, title) for note in cell.notes]
    return TextTable(title, header, rows, words=3, groups=groups, notes=notes)


def _texts(cell: Cell) -> list[str]:
    """Ours, the paper's, and the difference of the two as they are shown."""
    paper = '' if math.isnan(cell.paper) else f'{cell.paper:.1f}'
    if not cell.runs:
        return ['', paper, '']
    ours, mark = cell.ours, '†' if cell.notes else ''
    if math.isnan(ours.mean):
        return [ABSENT + mark, paper, '']
    shown = round(ours.mean, 1)
    spread = '' if math.isnan(ours.deviation) else f' ± {ours.deviation:.1f}'
    difference = f'{shown - cell.paper:+.1f}'.replace('-', '−') if paper else ''  # noqa: RUF001
    return [f'{shown:.1f}{spread} ({len(cell.runs)}){mark}', paper, difference]


def _free_title(free: FreeTable) -> str:
    return f"{', '.join(free.source)} to {', '.join(free.unseen or free.seen)}"


def _free_table(free: FreeTable) -> TextTable:
    found = {title: free.numbers([run.report for run in runs], free.metric)
             for title, runs in free.rows.items()}
    seeds = {title: str(len(runs)) for title, runs in free.rows.items()}
    for name, run in free.baselines.items():
        found[name] = free.numbers([run.baselines[name]], free.metric)
    columns = list(next(iter(found.values())))
    header = [f'{free.metric}, %', 'seeds', *(
        f'{name} (source)' if name in free.seen else name for name in columns)]
    rows = [[title, seeds.get(title, ''), *(str(row[name]) for name in columns)]
            for title, row in found.items()]
    return TextTable(_free_title(free), header, rows)


# -------------------------------------------------------------------------------------- the origin

def _origins(rows: Iterable[tuple[str, Sequence[Run]]]) -> list[str]:
    """A folded table of the reports behind a section; nothing where nothing was run."""
    places: dict[Path, list[str]] = {}
    found: dict[Path, Run] = {}
    for place, runs in rows:
        for run in runs:
            found[run.path] = run
            places.setdefault(run.path, []).append(place)
    cells = [[', '.join(places[path]), run.method, _word(run.seed), f'`{path.as_posix()}`',
              f'`{run.config_sha256[:DIGITS]}`', f'`{run.checkpoint_sha256[:DIGITS]}`']
             for path, run in found.items()]
    header = ['numbers', 'method', 'seed', 'report', 'config', 'checkpoint']
    table = TextTable('', header, cells, words=len(header)).markdown().rstrip()
    summary = 'Where these numbers come from (SHA-256 of config and checkpoint)'
    return [f'<details><summary>{summary}</summary>', table, '</details>'] if cells else []


def _comments(rows: Iterable[tuple[str, Sequence[Run]]]) -> Iterator[str]:
    for place, runs in rows:
        for run in runs:
            yield (f'% {place}, seed {_word(run.seed)}: {run.path.as_posix()}, '
                   f'config {run.config_sha256}, checkpoint {run.checkpoint_sha256}')


def _word(seed: int | None) -> str:
    return 'unknown' if seed is None else str(seed)


# -------------------------------------------------------------------------------------- CSV, JSON

def _cell_row(cell: Cell) -> dict[str, Any]:
    found = cell.setting
    return {
        'table': found.table, 'setting': found.id, 'config': found.config, 'gap': found.gap,
        'source': found.source.domain, 'target': found.target.domain, 'method': cell.title,
        'metric': found.metric, 'paper': _text(cell.paper), 'difference': _text(cell.difference),
        **_spreads(cell.ours, cell.mean_iou), **_joined(cell.runs)}


def _free_rows(free: FreeTable) -> Iterator[dict[str, Any]]:
    entries = [
        *((title, [run.report for run in runs], runs) for title, runs in free.rows.items()),
        *((name, [run.baselines[name]], (run,)) for name, run in free.baselines.items())]
    for title, reports, runs in entries:
        ours, mean = free.numbers(reports, free.metric), free.numbers(reports, 'mIoU')
        for domain in ours:
            yield {
                'table': 'outside the benchmark', 'source': ' '.join(free.source),
                'target': domain, 'method': title, 'metric': free.metric,
                **_spreads(ours[domain], mean[domain]), **_joined(runs)}


def _spreads(ours: Spread, mean: Spread) -> dict[str, str]:
    return {'ours': _text(ours.mean), 'deviation': _text(ours.deviation),
            'mIoU': _text(mean.mean), 'mIoU_deviation': _text(mean.deviation)}


def _joined(runs: Sequence[Run]) -> dict[str, Any]:
    """Seeds and origin of a row of the CSV, blanks between several runs."""
    return {
        'seeds': len(runs) or '', 'reports': ' '.join(run.path.as_posix() for run in runs),
        'config_sha256': ' '.join(run.config_sha256 for run in runs),
        'checkpoint_sha256': ' '.join(run.checkpoint_sha256 for run in runs)}


def _setting_facts(found: Setting) -> dict[str, Any]:
    return {
        'id': found.id, 'config': found.config, 'table': found.table, 'gap': found.gap,
        'source': found.source.domain, 'target': found.target.domain, 'metric': found.metric,
        'paper': dict(found.paper)}


def _cell_json(cell: Cell) -> dict[str, Any]:
    return {
        'ours': _number(cell.ours.mean), 'deviation': _number(cell.ours.deviation),
        'paper': _number(cell.paper), 'difference': _number(cell.difference),
        'mIoU': _number(cell.mean_iou.mean),
        'classes': {name: _number(spread.mean) for name, spread in cell.class_iou.items()},
        'notes': cell.notes,
        'runs': [run.origin() | {'value': _number(value)}
                 for run, value in zip(cell.runs, cell.ours.values, strict=True)]}


def _free_json(free: FreeTable) -> dict[str, Any]:
    def entry(runs: Sequence[Run], reports: Sequence[DomainReport]) -> dict[str, Any]:
        columns = {metric: free.numbers(reports, metric)
                   for metric in dict.fromkeys((free.metric, 'mIoU'))}
        return {
            **{metric: {name: {'mean': _number(s.mean), 'deviation': _number(s.deviation)}
                        for name, s in found.items()} for metric, found in columns.items()},
            'runs': [run.origin() for run in runs]}

    return {
        'source': list(free.source), 'unseen': list(free.unseen), 'metric': free.metric,
        'methods': {title: entry(runs, [run.report for run in runs])
                    for title, runs in free.rows.items()},
        'baselines': {name: entry([run], [run.baselines[name]])
                      for name, run in free.baselines.items()}}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _text(value: float) -> str:
    return '' if math.isnan(value) else f'{value:.4f}'
