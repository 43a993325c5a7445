# SPDX-License-Identifier: Apache-2.0
"""The written tables: Markdown, LaTeX, CSV, JSON."""

import csv
import json
from pathlib import Path

import pytest
from fake_runs import fake_report, write_run, write_setting

from crossearth.benchmark import SETTINGS
from crossearth.evaluation.runs import find_runs
from crossearth.evaluation.table import BenchmarkTable
from crossearth.evaluation.table_files import table_csv, table_json, table_latex, table_markdown
from crossearth.evaluation.text_table import TextTable


@pytest.fixture
def table(tmp_path):
    """Two seeds of one setting, one of a binary one on too few images, and runs beside."""
    for seed, iou in ((0, 47), (1, 50)):
        write_setting(tmp_path / f's{seed}', 'Sub2Tem', iou, seed=seed)
    write_setting(tmp_path / 'd', 'D2M', 60, images=10)
    write_run(tmp_path / 'm', 'my_config', fake_report('dry', {'dry': 70, 'wet': 30}),
              baselines={'all low': fake_report('dry', {'dry': 9, 'wet': 8})})
    return BenchmarkTable(find_runs([tmp_path])[0])


def test_markdown(table, tmp_path):
    lines = table_markdown(table, {Path('x/report.json'): 'it is empty'}).splitlines()
    for line in (
            '| setting | gap | metric | Rein, ours | paper | Δ | CrossEarth, ours | paper | Δ |',
            '| Sub2Tem | region, climate | mIoU |  | 46.4 |  | 48.5 ± 2.1 (2) | 48.1 | +0.4 |',
            '| Sub2Tms | region, climate | mIoU |  | 59.7 |  |  | 64.6 |  |',
            '| D2M | region | IoU |  | 49.7 |  | 60.0 (1)† | 50.5 | +9.5 |',
            '† D2M, CrossEarth: tested on 10 images, the benchmark has 49.',
            '| CrossEarth (my_config) | 1 | 70.00 | 30.00 | 30.00 |',
            '| all low |  | 9.00 | 8.00 | 8.00 |',
            '* `x/report.json`: it is empty.'):
        assert line in lines
    run = table.cells['Sub2Tem', 'crossearth'].runs[0]
    assert (f'| Sub2Tem | CrossEarth | 0 | `{tmp_path.as_posix()}/s0/report.json` | '
            f'`{run.config_sha256[:12]}` | `{run.checkpoint_sha256[:12]}` |') in lines


def test_every_setting_stands_in_one_table(table):
    text = table_markdown(table, {})
    for found in SETTINGS:
        assert text.count(f'\n| {found.id} | {found.gap.replace("+", ", ")} |') == 1
    assert 'left out' not in text


def test_csv(table):
    rows = list(csv.DictReader(table_csv(table).splitlines()))
    assert len([row for row in rows if row['setting']]) == 2 * len(SETTINGS)
    by_key = {(row['setting'], row['method'], row['target']): row for row in rows}
    row = by_key['Sub2Tem', 'CrossEarth', 'tem']
    assert (float(row['ours']), int(row['seeds']), float(row['paper'])) == (48.5, 2, 48.1)
    assert float(row['difference']) == pytest.approx(0.4)
    assert len(row['reports'].split()) == len(row['checkpoint_sha256'].split()) == 2
    empty = by_key['Sub2Tms', 'Rein', 'tms']
    assert {empty[key] for key in ('ours', 'difference', 'seeds', 'reports')} == {''}
    assert by_key['', 'CrossEarth (my_config)', 'wet']['ours'] == '30.0000'
    assert by_key['', 'all low', 'mean over unseen']['ours'] == '8.0000'


def test_json_traces_every_number(table):
    data = json.loads(table_json(table, {Path('a'): 'b'}))
    assert [row['id'] for row in data['settings']] == [found.id for found in SETTINGS]
    cells = {(row['id'], key): cell for row in data['settings']
             for key, cell in row['methods'].items()}
    cell = cells['Sub2Tem', 'crossearth']
    assert (cell['ours'], cell['paper']) == (48.5, 48.1)
    assert [run['value'] for run in cell['runs']] == [47, 50]
    assert cell['classes']['forest'] == 48.5
    for (found, method), one in cells.items():
        assert (one['ours'] is not None) == bool(one['runs']), (found, method)
        for run in one['runs']:
            assert Path(run['report']).is_file()
            assert len(run['config_sha256']) == len(run['checkpoint_sha256']) == 64
    (outside,) = data['outside']
    assert outside['methods']['CrossEarth (my_config)']['mIoU']['wet']['mean'] == 30
    assert outside['baselines']['all low']['runs'][0]['seed'] == 42
    assert data['skipped'] == {'a': 'b'}


def test_latex(table):
    text = table_latex(table)
    assert text.count(r'\begin{table}') == text.count(r'\end{table}') == 7
    assert (r'Sub2Tem & region, climate & mIoU &  & 46.4 &  & 48.5 $\pm$ 2.1 (2) & 48.1 & +0.4 \\'
            in text)
    assert r'CrossEarth (my\_config) & 1 & 70.00 & 30.00 & 30.00 \\' in text
    assert r'\multicolumn{3}{c}{Rein} & \multicolumn{3}{c}{CrossEarth} \\' in text
    run = table.cells['D2M', 'crossearth'].runs[0]
    comment = next(line for line in text.splitlines() if line.startswith('% D2M, CrossEarth'))
    assert run.config_sha256 in comment
    assert run.checkpoint_sha256 in comment


def test_difference_is_that_of_the_shown_numbers(tmp_path):
    # 67.25 and 67.5: shown as 67.2 and 67.5, so the difference must be shown as -0.3
    for seed, iou in enumerate((67, 67, 67, 68)):
        write_setting(tmp_path / str(seed), 'P(i)2V', iou, seed=seed)
    found = BenchmarkTable(find_runs([tmp_path])[0])
    line = next(line for line in table_markdown(found, {}).splitlines() if '| P(i)2V |' in line)
    assert line.endswith('| 67.2 ± 0.5 (4) | 67.5 | −0.3 |')  # noqa: RUF001


def test_cells_cannot_break_the_table():
    table = TextTable('50 % & more', ['a|b', 'n'], [['x_1', '{3}'], ['#$^~', '1']])
    assert table.markdown().splitlines()[0] == r'| a\|b | n |'
    text = table.latex()
    assert r'\caption{50 \% \& more}' in text
    assert r'x\_1 & \{3\} \\' in text
    assert r'\#\$\textasciicircum{}\textasciitilde{} & 1 \\' in text
