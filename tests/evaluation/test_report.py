# SPDX-License-Identifier: Apache-2.0
"""Records of tests: scores, terminal table, files, comparison."""

import csv
import io
import json
import re

import numpy as np
import pytest
from rich.console import Console

from crossearth.errors import DataError
from crossearth.evaluation import (
    DomainReport,
    DomainResult,
    comparison_markdown,
    print_report,
    read_report,
    write_csv,
    write_json,
)

# IoU 80/100 and 80/100; 60/100 and 0/40; class b absent: 75/100
HOME = np.array([[80, 10], [10, 80]])
FAR = np.array([[60, 0], [40, 0]])
ODD = np.array([[75, 25], [0, 0]])


def report(foreground=None, **matrices):
    matrices = matrices or {'far': FAR, 'home': HOME, 'odd': ODD}
    return DomainReport(
        classes=('a', 'b'), source=('home',), foreground=foreground,
        domains={name: DomainResult(matrix, 2) for name, matrix in matrices.items()})


def rendered(result, width=120):
    console = Console(width=width, record=True, file=io.StringIO())
    print_report(result, console)
    return console.export_text()


def test_mean_over_unseen_leaves_the_source_out():
    result = report()
    assert result.summary('home')['mIoU'] == pytest.approx(80)
    assert result.summary('far')['mIoU'] == pytest.approx(30)
    assert result.summary('odd')['mIoU'] == pytest.approx(75)
    assert result.mean(result.unseen)['mIoU'] == pytest.approx((30 + 75) / 2)
    assert result.mean(result.seen)['mIoU'] == pytest.approx(80)


def test_binary_task_puts_the_foreground_first():
    result = report(foreground=1, home=HOME, far=FAR)
    assert list(result.summary('home')) == ['IoU', 'mIoU', 'aAcc', 'mF1']
    assert result.summary('home')['IoU'] == pytest.approx(80)
    assert result.mean(result.unseen)['IoU'] == 0


def test_undefined_foreground_makes_the_mean_undefined_not_smaller():
    result = report(foreground=1)
    assert np.isnan(result.mean(result.unseen)['IoU'])
    assert result.to_dict()['mean_over_unseen']['IoU'] is None


def test_table_shows_domains_source_absence_and_mean():
    rows = {line.split('│')[1].strip(): [cell.strip() for cell in line.split('│')[2:-1]]
            for line in rendered(report()).splitlines() if line.startswith('│')}
    assert list(rows) == ['home (source)', 'far', 'odd', 'mean over unseen']
    assert rows['far'][:4] == ['2', '60.00', '0.00', '30.00']
    assert rows['odd'][:4] == ['2', '75.00', '–', '75.00']  # noqa: RUF001
    assert rows['mean over unseen'][:4] == ['4', '', '', '52.50']


def test_footnote_only_when_a_class_is_absent():
    note = 'no pixel of this class'
    assert note in rendered(report())
    assert note not in rendered(report(home=HOME, far=FAR))


def test_narrow_terminal_cuts_no_number_off():
    wide, narrow = rendered(report()), rendered(report(), width=60)
    assert 'Means, %' not in wide
    assert 'Means, %' in narrow
    numbers = re.compile(r'\d+\.\d\d')
    assert sorted(numbers.findall(narrow)) == sorted(numbers.findall(wide))


def test_json_round_trip(tmp_path):
    write_json(report(), tmp_path / 'new' / 'report.json')
    again = read_report(tmp_path / 'new' / 'report.json')
    assert again.to_dict() == report().to_dict()
    assert again.domains['far'].matrix.dtype == np.int64
    data = json.loads((tmp_path / 'new' / 'report.json').read_text())
    assert data['mean_over_unseen']['mIoU'] == 52.5
    assert data['domains']['odd']['classes']['b']['IoU'] is None
    assert data['domains']['odd']['unseen'] is True


def test_csv_has_one_row_per_domain(tmp_path):
    write_csv(report(), tmp_path / 'report.csv')
    rows = list(csv.DictReader((tmp_path / 'report.csv').open()))
    assert [row['domain'] for row in rows] == ['far', 'home', 'odd']
    assert [row['unseen'] for row in rows] == ['1', '0', '1']
    assert (rows[2]['IoU a'], rows[2]['IoU b'], rows[2]['mIoU']) == ('75.0', '', '75.0')


def test_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch):
    target = tmp_path / 'report.json'
    write_json(report(), target)
    before = target.read_bytes()

    def full(path, *args, **kwargs):
        path.touch()
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('pathlib.Path.write_bytes', full)
    with pytest.raises(OSError, match='No space left'):
        write_json(report(home=HOME), target)
    assert target.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ['report.json']


@pytest.mark.parametrize('content', ['', '{"classes": []}', '[1]', '{"classes": 3}'])
def test_reading_something_else(tmp_path, content):
    (tmp_path / 'x.json').write_text(content)
    with pytest.raises(DataError, match=r'x\.json cannot be read as a report .*Run the test again'):
        read_report(tmp_path / 'x.json')


def test_comparison_marks_the_best_of_each_column():
    worse_at_home = report(home=np.array([[70, 20], [10, 80]]), far=np.array([[90, 0], [10, 0]]))
    table = comparison_markdown({'frozen': report(home=HOME, far=FAR), 'ours': worse_at_home})
    assert table.splitlines() == [
        '| mIoU, % | home (source) | far | mean over unseen |',
        '|---|---:|---:|---:|',
        '| frozen | **80.00** | 30.00 | 30.00 |',
        '| ours | 71.36 | **45.00** | **45.00** |',
    ]


def test_comparison_shares_the_bold_between_equals():
    table = comparison_markdown({'one': report(home=HOME), 'two': report(home=HOME)})
    assert table.count('**80.00**') == 2


def test_comparison_of_different_tests_is_refused():
    with pytest.raises(DataError, match=r"'A' and 'B' cannot be compared: unseen is"):
        comparison_markdown({'A': report(), 'B': report(home=HOME, far=FAR)})
    with pytest.raises(DataError, match='labelled pixels'):
        comparison_markdown({'A': report(home=HOME), 'B': report(home=2 * HOME)})
    with pytest.raises(DataError, match='no report to compare'):
        comparison_markdown({})
