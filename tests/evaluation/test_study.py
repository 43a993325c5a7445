# SPDX-License-Identifier: Apache-2.0
"""Runs of several sources: which numbers are compared, and what the files say."""

import csv
import json
import statistics

import pytest
from fake_runs import fake_report

from crossearth.evaluation.study import Study, StudyRun

DOMAINS = ('dry', 'wet', 'high')


def run(source, method, seed, numbers, **facts):
    """A run on three domains whose IoU is `numbers`."""
    report = fake_report(source, dict(zip(DOMAINS, numbers, strict=True)))
    return StudyRun(source, method, seed, report, facts)


@pytest.fixture
def study():
    """Two sources and two seeds; the last run of `ours` has not finished."""
    runs = [
        run('dry', 'base', 0, (60, 20, 30), commit='abc'), run('dry', 'ours', 0, (50, 24, 40)),
        run('wet', 'base', 0, (10, 70, 20)), run('wet', 'ours', 0, (16, 70, 20)),
        run('dry', 'base', 1, (62, 22, 32)), run('dry', 'ours', 1, (58, 22, 30)),
        run('wet', 'base', 1, (40, 80, 50))]
    return Study(runs, ['base', 'ours', 'late'], ['dry', 'wet'], 'base', {
        'base': {'trained, M': 2.0}, 'ours': {'trained, M': 3.0}, 'late': {'trained, M': 1.0}})


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_means_are_over_all_runs_and_of_each_source(study):
    base = study.spreads['base']
    unseen = [25, 15, 27, 45]
    assert base['mean over unseen'].mean == pytest.approx(statistics.fmean(unseen), abs=0.01)
    assert base['mean over unseen'].deviation == pytest.approx(statistics.stdev(unseen), abs=0.01)
    assert base['source domain'].mean == pytest.approx(68, abs=0.01)
    assert base['from wet'].mean == pytest.approx(30, abs=0.01)
    assert study.spreads['late']['from dry'].values == ()


def test_differences_are_of_finished_pairs_on_domains_unseen_there(study):
    row = study.differences['ours']
    assert row['mean over unseen'].pairs == 3
    assert row['mean over unseen'].mean == pytest.approx((7 + 3 - 1) / 3, abs=0.01)
    assert row['source domain'].mean == pytest.approx((-10 + 0 - 4) / 3, abs=0.01)
    assert (row['dry'].pairs, row['wet'].pairs, row['high'].pairs) == (1, 2, 3)
    assert row['dry'].mean == pytest.approx(6, abs=0.01)
    assert row['wet'].mean == pytest.approx(2, abs=0.01)
    assert study.differences['late']['mean over unseen'].pairs == 0
    assert 'base' not in study.differences


def test_files(study, tmp_path):
    text = study.write_means(tmp_path, date='today')
    assert text == (tmp_path / 'summary.md').read_text()
    lines = text.splitlines()
    assert lines[0] == ('| mIoU, % | runs | mean over unseen | source domain | from dry | from wet '
                        '| trained, M |')
    assert lines[2].startswith('| base | 4 | 28.00 ± ')
    assert lines[4] == '| late | 0 | n/a | n/a | n/a | n/a | 1 |'
    base, ours, late = rows(tmp_path / 'summary.csv')
    assert (base['runs'], ours['runs'], late['runs']) == ('4', '3', '0')
    assert float(base['mean over unseen mean']) == pytest.approx(28, abs=0.01)
    assert late['mean over unseen mean'] == ''
    data = json.loads((tmp_path / 'summary.json').read_text())
    assert data['date'] == 'today'
    assert data['methods']['late']['from dry mean'] is None
    told = data['differences']['methods']['ours']['mean over unseen']
    assert told['pairs'] == 3
    assert told['low'] <= told['mean'] <= told['high']


def test_files_of_the_differences(study, tmp_path):
    text = study.write_differences(tmp_path)
    assert text.startswith('| mIoU, points above base | pairs | mean over unseen | source domain |')
    assert '| late | 0 | n/a |' in text
    row = next(row for row in rows(tmp_path / 'differences.csv') if row['on'] == 'high')
    assert (row['method'], row['baseline'], row['pairs']) == ('ours', 'base', '3')
    assert float(row['mean']) == pytest.approx((10 + 0 - 2) / 3, abs=0.01)


def test_every_run_is_a_row_with_its_facts(study, tmp_path):
    study.write_runs(tmp_path)
    found = rows(tmp_path / 'runs.csv')
    assert list(found[0]) == ['source', 'method', 'seed', *DOMAINS, 'mean over unseen', 'commit']
    assert len(found) == 7
    assert float(found[0]['wet']) == pytest.approx(20, abs=0.01)
    assert [row['commit'] for row in found[:2]] == ['abc', '']


def test_a_source_that_is_not_tested_has_no_column():
    report = fake_report('far', {'wet': 20, 'high': 30})
    study = Study([StudyRun('far', method, 0, report) for method in ('base', 'ours')],
                  ['base', 'ours'], ['far'], 'base')
    assert study.subjects == ['mean over unseen', 'wet', 'high']
    assert list(study.spreads['base']) == ['mean over unseen', 'from far']
    assert study.differences['ours']['mean over unseen'].mean == 0


def test_nothing_to_compare_with_writes_no_differences(study, tmp_path):
    alone = Study(study.runs, ['base'], ['dry'])
    assert alone.write_differences(tmp_path) == ''
    assert list(tmp_path.iterdir()) == []
    assert alone.differences_data()['methods'] == {}


def test_nothing_finished(tmp_path):
    empty = Study([], ['base', 'ours'], ['dry'], 'base')
    assert '| ours | 0 | n/a | n/a |' in empty.write_means(tmp_path)
    assert '| ours | 0 | n/a |' in empty.write_differences(tmp_path)
    empty.write_runs(tmp_path)
    assert rows(tmp_path / 'runs.csv') == []
