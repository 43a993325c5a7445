# SPDX-License-Identifier: Apache-2.0
"""tools/report.py from work folders to files."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_runs import fake_report, write_run, write_setting
from PIL import Image

from crossearth.errors import DataError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch, tmp_path):
    """Call the tool in a folder of its own."""
    spec = importlib.util.spec_from_file_location('report_tool', ROOT / 'tools' / 'report.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', ['report.py', *arguments])
        module.main()

    return call


def test_from_work_folders_to_a_report(tool, capsys):
    work = Path('work_dirs')
    write_setting(work / 'a', 'Sub2Tem', 47)
    write_setting(work / 'b', 'Sub2Tem', 45, method='Rein')
    write_run(work / 'c', 'mine', fake_report('dry', {'wet': 30}))
    (work / 'report.json').write_text('{"methods": {}}')
    tool('work_dirs', '-o', 'out')
    printed = capsys.readouterr().out
    assert 'left out: work_dirs/report.json: it is no report' in printed
    assert '3 reports, 1 of the settings: out/results.md' in printed
    assert sorted(path.name for path in Path('out').iterdir()) == [
        'radar.png', 'results.csv', 'results.json', 'results.md', 'results.tex']
    text = Path('out/results.md').read_text(encoding='utf-8')
    assert '| 45.0 (1) | 46.4 | −1.4 | 47.0 (1) | 48.1 | −1.1 |' in text  # noqa: RUF001
    assert '`work_dirs/report.json`' in text
    rows = json.loads(Path('out/results.json').read_text())['settings']
    cell = next(row for row in rows if row['id'] == 'Sub2Tem')['methods']['rein']
    assert cell['runs'][0]['report'] == 'work_dirs/b/report.json'
    with Image.open('out/radar.png') as picture:
        assert min(picture.size) > 1000
    # the report lies among the work folders and is no run itself
    tool('.', '-o', 'out')
    assert '3 reports' in capsys.readouterr().out


def test_chart_has_our_line_only_where_something_was_run(tool):
    from crossearth.evaluation.runs import find_runs
    from crossearth.evaluation.table import BenchmarkTable
    from crossearth.visualization.radar import benchmark_radar

    def red():
        picture = benchmark_radar(BenchmarkTable(find_runs([Path('w')])[0]))
        return int((np.abs(picture.astype(int) - (0xc0, 0x39, 0x2b)).max(axis=2) < 10).sum())

    write_run(Path('w/c'), 'mine', fake_report('dry', {'wet': 30}))
    assert red() == 0
    write_setting(Path('w/a'), 'Sub2Tem', 47)
    assert red() > 0


def test_nothing_to_report(tool):
    Path('empty').mkdir()
    with pytest.raises(DataError, match=r'no report of a test in empty\. Test a checkpoint first'):
        tool('empty')


@pytest.mark.parametrize('arguments', [(), ('work_dirs', '--paper', 'page.md')])
def test_usage(tool, capsys, arguments):
    with pytest.raises(SystemExit, match='2'):
        tool(*arguments)
    assert 'give either WORK_DIRs or --paper PAGE' in capsys.readouterr().err


def test_page(tool):
    shutil.copy(ROOT / 'docs' / 'benchmark.md', 'page.md')
    page = Path('page.md').read_text(encoding='utf-8')
    Path('page.md').write_text(page.replace('48.1', '99.9'), encoding='utf-8')
    tool('--paper', 'page.md')
    assert Path('page.md').read_text(encoding='utf-8') == page
