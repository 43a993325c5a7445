# SPDX-License-Identifier: Apache-2.0
"""Ours beside the paper's: which run answers which setting, seeds, notes, contradictions."""

import math
import re
import statistics

import pytest
from fake_runs import fake_report, write_run, write_setting

from crossearth.benchmark import DATA_SETS, SETTINGS
from crossearth.errors import DataError
from crossearth.evaluation.runs import find_runs
from crossearth.evaluation.table import BenchmarkTable, method_key

CASID = DATA_SETS['casid'].classes
COUNTS = {domain: images for (domain, split), images in DATA_SETS['casid'].counts.items()
          if split == 'test'}


@pytest.fixture
def table(tmp_path):
    return lambda: BenchmarkTable(find_runs([tmp_path])[0])


def test_mean_and_spread_over_seeds(tmp_path, table):
    for seed, iou in ((2, 50), (0, 47), (1, 44)):
        write_setting(tmp_path / str(seed), 'Sub2Tem', iou, seed=seed)
    cell = table().cells['Sub2Tem', 'crossearth']
    assert [run.seed for run in cell.runs] == [0, 1, 2]
    assert cell.ours.values == pytest.approx((47, 44, 50))
    assert cell.ours.mean == pytest.approx(47)
    assert cell.ours.deviation == pytest.approx(statistics.stdev((47, 44, 50)))
    assert cell.difference == pytest.approx(47 - 48.1)
    assert cell.class_iou['water'].values == pytest.approx((47, 44, 50))
    assert cell.notes == []


def test_what_was_not_run_stays_empty(tmp_path, table):
    write_setting(tmp_path, 'P(i)2V', 60)
    found = table()
    assert found.methods == ['rein', 'crossearth']
    assert len(found.cells) == 2 * len(SETTINGS)
    assert [key for key, cell in found.cells.items() if cell.runs] == [('P(i)2V', 'crossearth')]
    empty = found.cells['V2P(i)', 'rein']
    assert math.isnan(empty.ours.mean)
    assert math.isnan(empty.difference)
    assert empty.paper == 57.6
    assert found.settings_run == 1


def test_one_training_answers_every_setting_of_its_source(tmp_path, table):
    numbers = {'sub': 60, 'tem': 40, 'tms': 50, 'trf': 55}
    report = fake_report('tem', numbers, CASID, COUNTS)
    write_run(tmp_path, 'casid_tem2all', report, 'Rein')
    cells = {key: cell.ours.mean for key, cell in table().cells.items() if cell.runs}
    assert cells == pytest.approx({
        ('Tem2Tem', 'rein'): 40, ('Tem2Sub', 'rein'): 60, ('Tem2Tms', 'rein'): 50,
        ('Tem2Trf', 'rein'): 55})


def test_two_classes_are_counted_by_their_foreground(tmp_path, table):
    report = fake_report('aerial', {'satellite2': 30}, DATA_SETS['whu'].classes, {
        'satellite2': 3726}, 1)
    report.domains['satellite2'].matrix[0, 0] *= 5  # the background is easier
    write_run(tmp_path, 'whu_aerial2satellite', report)
    cell = table().cells['A2S', 'crossearth']
    assert cell.ours.mean == pytest.approx(30)
    assert cell.mean_iou.mean > 40


@pytest.mark.parametrize(('source', 'target', 'classes'), [
    ('tem', 'tem', CASID), ('sub', 'trf', CASID), ('sub', 'tem', ('low', 'high'))])
def test_the_name_alone_makes_no_setting(tmp_path, table, source, target, classes):
    report = fake_report(source, {target: 40}, classes)
    write_run(tmp_path, 'casid_sub2tem', report)
    found = table()
    assert found.settings_run == 0
    (free,) = found.free
    assert free.source == (source,)


def test_other_methods_get_columns_in_the_order_of_the_paper(tmp_path, table):
    for method in ('Rein + GSE', 'DAFormer', 'another'):
        write_setting(tmp_path / method, 'R2U', 50, method=method)
    found = table()
    assert found.methods == ['daformer', 'rein', 'crossearth', 'Rein + GSE', 'another']
    assert found.cells['R2U', 'daformer'].paper == 51.6
    assert math.isnan(found.cells['R2U', 'Rein + GSE'].paper)
    assert method_key('CrossEarth') == 'crossearth'


# what must not be mixed

def test_two_results_of_one_seed_name_both_files(tmp_path, table):
    first = write_setting(tmp_path / 'a', 'Sub2Tem', 47)
    second = write_setting(tmp_path / 'b', 'Sub2Tem', 48)
    with pytest.raises(DataError, match=(
            rf'^Sub2Tem, CrossEarth, seed 42: {re.escape(str(first))} and '
            rf'{re.escape(str(second))} hold different results')):
        table()


def test_two_trainings_of_one_seed_are_no_spread(tmp_path, table):
    write_setting(tmp_path / 'a', 'Sub2Tem', 47)
    report = fake_report('sub', {'sub': 60, 'tem': 48}, CASID, COUNTS)
    write_run(tmp_path / 'b', 'casid_sub2all', report)
    with pytest.raises(DataError, match='different results'):
        table()


def test_unknown_seeds_are_one_seed(tmp_path, table):
    write_setting(tmp_path / 'a', 'Sub2Tem', 47, seed=None)
    write_setting(tmp_path / 'b', 'Sub2Tem', 48, seed=None)
    with pytest.raises(DataError, match='seed None'):
        table()


def test_a_copy_counts_once(tmp_path, table):
    write_setting(tmp_path / 'a', 'Sub2Tem', 47)
    write_setting(tmp_path / 'b', 'Sub2Tem', 47)
    assert len(table().cells['Sub2Tem', 'crossearth'].runs) == 1


def test_notes(tmp_path, table):
    write_setting(tmp_path / 'a', 'D2M', 47, images=10, seed=0)
    report = fake_report('deepglobe', {'massachusetts': 40}, DATA_SETS['deepglobe'].classes, {
        'massachusetts': 49}, 1)
    path = write_run(tmp_path / 'b', 'deepglobe2massachusetts', report, seed=1)
    path.write_text(re.sub(r'"config_sha256": "\w+"', '"config_sha256": "other"', path.read_text()))
    assert table().cells['D2M', 'crossearth'].notes == [
        'D2M, CrossEarth: tested on 10 images, the benchmark has 49.',
        'D2M, CrossEarth: the seeds were trained with different configs.']


# runs outside the benchmark

def test_runs_of_the_same_question_stand_together(tmp_path, table):
    baseline = {'all low': fake_report('dry', {'wet': 5, 'cold': 5}, foreground=1)}
    for seed, iou in ((0, 30), (1, 34)):
        report = fake_report('dry', {'wet': iou, 'cold': 20}, foreground=1)
        write_run(tmp_path / str(seed), 'mine', report, 'CrossEarth', seed, baseline)
    report = fake_report('dry', {'wet': 25, 'cold': 21}, foreground=1)
    write_run(tmp_path / 'r', 'mine', report, 'Rein', 0, baseline)
    write_run(tmp_path / 'o', 'other', fake_report('wet', {'dry': 25, 'wet': 50}))
    first, second = table().free
    assert list(first.rows) == ['CrossEarth (mine)', 'Rein (mine)']
    assert (first.metric, second.metric) == ('IoU', 'mIoU')
    assert second.seen == ('wet',)
    numbers = first.numbers([run.report for run in first.rows['CrossEarth (mine)']], 'IoU')
    assert list(numbers) == ['wet', 'cold', 'mean over unseen']
    assert numbers['wet'].values == pytest.approx((30, 34))
    assert numbers['mean over unseen'].values == pytest.approx((25, 27))
    assert first.baselines['all low'].baselines['all low'].summary('wet')['IoU'] == 5


def test_two_results_outside_the_benchmark(tmp_path, table):
    write_run(tmp_path / 'a', 'mine', fake_report('dry', {'wet': 30}))
    write_run(tmp_path / 'b', 'mine', fake_report('dry', {'wet': 31}))
    with pytest.raises(DataError, match=r'CrossEarth \(mine\), seed 42: .*a/report.*b/report'):
        table()


def test_two_results_of_a_baseline(tmp_path, table):
    for seed, iou in ((0, 5), (1, 6)):
        write_run(tmp_path / str(seed), 'mine', fake_report('dry', {'wet': 30}), seed=seed,
                  baselines={'all low': fake_report('dry', {'wet': iou})})
    with pytest.raises(DataError, match=r"different results of the baseline 'all low'"):
        table()
