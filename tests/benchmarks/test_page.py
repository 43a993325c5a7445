# SPDX-License-Identifier: Apache-2.0
"""The tables of the committed results are those of their files."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / 'benchmarks' / 'results'
ROW = {
    'name': 'one crop',
    'variants': {
        'reference': {'wall_s': {'median': 12.0, 'min': 11.0, 'max': 1300.0}},
        'ours': {'wall_s': {'median': 8.0, 'min': 8.0, 'max': 8.0}, 'share_of_peak': 0.704}},
    'ratio': {'median': 1.5, 'min': 1.25, 'max': 1.75},
    'difference': {'scores': 1.3e-6, 'more': 2e-7},
    'figures': {'calls': 24, 'float32_losses': 3e-4}}


@pytest.fixture
def page(script):
    return script('page')


def test_a_row_has_every_number_that_it_should(page):
    header, rule, row = page.table([ROW])
    assert header == (
        '|  | plain, s | ours, s | ratio | ours, share of GEMM peak | largest difference | calls |')
    assert rule.count('---:') == 6
    assert row == ('| one crop | 12 (11 to 1,300) | 8 | **1.50 (1.25 to 1.75)** | 70% | 1e-06 '
                   '| 24 |')


def test_a_cell_that_a_row_lacks_is_empty(page):
    other = {'name': 'other', 'variants': {'ours': {'peak_mb': 1536.0}}}
    *_, row = page.table([ROW, other])
    assert row == '| other |  |  |  |  |  |  | 1.50 |'


def test_what_was_not_measured_is_named(page, tmp_path):
    result = json.loads((RESULTS / 'inference_l_512.json').read_text())
    (tmp_path / 'one.json').write_text(json.dumps(result))
    missing = page.page(tmp_path).partition('### Not measured yet')[2]
    assert missing.count('* ') == len(page.TITLES)  # a GPU takes the place of what was measured
    assert '* anything on a GPU' in missing
    assert '* Inference\n' not in missing
    for name in page.TITLES:
        (tmp_path / f'{name}.json').write_text(json.dumps({
            **result, 'benchmark': name, 'settings': {**result['settings'], 'device': 'cuda'}}))
    assert 'Not measured' not in page.page(tmp_path)


def test_the_committed_tables_are_those_of_the_committed_results(page):
    assert (RESULTS / page.PAGE).read_text() == page.page(RESULTS)


def test_what_the_benchmarks_are_told_for_is_measured(page):
    found = {json.loads(path.read_text())['benchmark'] for path in RESULTS.glob('*.json')}
    assert {'inference', 'train_step', 'train_step_segmentation', 'modules'} <= found
    assert found <= page.TITLES.keys()


def test_ratios_of_the_documentation_are_measured(page):
    text = (ROOT / 'docs' / 'speed.md').read_text()
    quoted = re.findall(r'(\d[\d.,]*) x\b(?! \d)', text)
    assert len(quoted) >= 5
    measured = {page.number(row['ratio']['median']) for path in RESULTS.glob('*.json')
                for row in json.loads(path.read_text())['rows'] if 'ratio' in row}
    assert set(quoted) <= measured
