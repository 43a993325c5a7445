# SPDX-License-Identifier: Apache-2.0
"""The table of the benchmark: its numbers, its parts against each other, its page."""

import csv
import os
import subprocess
import sys
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest

import crossearth.datasets
from crossearth.benchmark import (
    DATA_SETS,
    METHODS,
    SETTINGS,
    Domain,
    setting,
    settings_of,
)
from crossearth.errors import ConfigError, DataError
from crossearth.evaluation.benchmark_page import rewrite_page

ROOT = Path(__file__).resolve().parents[1]
CLIMATES = ('sub', 'tem', 'tms', 'trf')


def test_same_numbers_as_the_table_of_facts():
    shared = Path(os.environ.get('CROSSEARTH_SHARED', ROOT.parent / 'shared'))
    if not (shared / 'rsdg_benchmark.csv').is_file():
        pytest.skip('rsdg_benchmark.csv is not on this machine (set CROSSEARTH_SHARED)')
    facts = list(csv.DictReader((shared / 'rsdg_benchmark.csv').open(encoding='utf-8')))
    ours = resources.files('crossearth') / 'data' / 'rsdg_benchmark.csv'
    rows = list(csv.DictReader(ours.read_text(encoding='utf-8').splitlines()))
    assert [{key: row[key] for key in facts[0]} for row in rows] == facts


# what the paper and the data sets' pages say, written by hand

def test_settings_of_the_paper():
    assert len(SETTINGS) == 29
    gaps = Counter(found.gap for found in SETTINGS)
    assert gaps == {'region+climate': 12, 'region': 6, 'in-domain': 4, 'region+band': 3, 'band': 2,
                    'region+platform': 2}
    assert len({found.source for found in SETTINGS}) == 14  # trainings
    losses = [found.id for found in SETTINGS if found.paper['crossearth'] < max(
        found.paper.values())]
    assert losses == ['D2M', 'S2A', 'Tem2Sub', 'Tem2Tms', 'Trf2Tem', 'Trf2Tms']


@pytest.mark.parametrize(('name', 'expected'), [
    ('P(i)2V', (3456, 398, 512, 6, 0.7, 64, 0.7, 64, 'mse', 60.3, 67.5)),
    ('V2P(r)', (344, 2016, 512, 6, 0.5, 32, 0.7, 64, 'mse', 50.6, 52.7)),
    ('D2M', (6226, 49, 1024, 2, 0.3, 16, 0.5, 16, 'mse', 49.7, 50.5)),
    ('S2A', (13662, 1036, 512, 2, 0.5, 16, 0.7, 16, 'mse', 66.8, 64.5)),
    ('Tem2Trf', (5025, 1550, 1024, 5, 0.1, 64, 0.7, 128, 'l1', 55.9, 57.8)),
])
def test_rows(name, expected):
    row = setting(name)
    assert expected == (
        row.n_train, row.n_test, row.crop, row.num_classes, row.style_ratio, row.style_block,
        row.mim_ratio, row.mim_block, row.mim_loss, row.paper['rein'], row.paper['crossearth'])


def test_a_method_that_the_paper_does_not_list_has_no_number():
    assert 'deeplab' not in setting('P(i)2V').paper
    assert setting('P(r)2Res').paper['deeplab'] == 21.5
    assert all(found.paper.keys() <= METHODS.keys() for found in SETTINGS)


@pytest.mark.parametrize(('data_set', 'domain', 'split', 'images'), [
    ('potsdam', 'potsdam_rgb', 'train', 24 * 144), ('potsdam', 'potsdam_irrg', 'test', 14 * 144),
    ('vaihingen', 'vaihingen', 'train', 344), ('vaihingen', 'vaihingen', 'test', 398),
    ('loveda', 'urban', 'train', 1156), ('loveda', 'rural', 'train', 1366),
    ('loveda', 'urban', 'val', 677), ('loveda', 'rural', 'val', 992),
    ('rescuenet', 'rescuenet', 'test', 449), ('deepglobe', 'deepglobe', 'train', 6226),
    ('massachusetts', 'massachusetts', 'train', 1108), ('whu', 'aerial', 'test', 2416),
    ('whu', 'satellite2', 'train', 13662),
    # 25 crops of each image
    ('casid', 'sub', 'train', 25 * 196), ('casid', 'sub', 'test', 25 * 88),
    ('casid', 'tem', 'train', 25 * 201), ('casid', 'tem', 'test', 25 * 83),
    ('casid', 'tms', 'train', 25 * 136), ('casid', 'tms', 'test', 25 * 66),
    ('casid', 'trf', 'train', 25 * 148), ('casid', 'trf', 'test', 25 * 62),
])
def test_counts(data_set, domain, split, images):
    assert DATA_SETS[data_set].counts[domain, split] == images


def test_checksums_of_loveda():
    assert DATA_SETS['loveda'].md5 == {
        'Train.zip': 'de2b196043ed9b4af1690b3f9a7d558f',
        'Val.zip': '84cae2577468ff0b5386758bb386d31d',
        'Test.zip': 'a489be0090465e01fb067795d24e6b47'}


def test_splits_that_are_tested():
    assert setting('U2R').target == Domain('loveda', 'rural', 'val')
    assert setting('S2A').target == Domain('whu', 'aerial', 'val')
    assert setting('P(r)2Res').source == Domain('potsdam5', 'potsdam_rgb', 'train')
    assert setting('P(r)2V').source == Domain('potsdam', 'potsdam_rgb', 'train')


def test_two_classes_are_counted_by_their_foreground():
    assert [found.id for found in SETTINGS if found.metric == 'IoU'] == ['D2M', 'A2S', 'S2A']


# the parts against each other

@pytest.mark.parametrize('found', SETTINGS, ids=lambda found: found.id)
def test_settings_agree_with_the_data_sets(found):
    source, target = DATA_SETS[found.source.data_set], DATA_SETS[found.target.data_set]
    assert source.classes == target.classes
    assert len(source.classes) == found.num_classes
    assert source.counts[found.source.domain, 'train'] == found.n_train
    assert target.counts[found.target.domain, found.target.split] == found.n_test
    # one training serves all targets of a source
    first = next(other for other in SETTINGS if other.source == found.source)
    for name in ('crop', 'style_ratio', 'style_block', 'mim_ratio', 'mim_block', 'mim_loss'):
        assert getattr(found, name) == getattr(first, name)


@pytest.mark.parametrize('data_set', DATA_SETS.values(), ids=DATA_SETS.keys())
def test_data_sets_are_complete_and_agree_with_their_classes(data_set):
    meta = getattr(crossearth.datasets, data_set.class_name).METAINFO
    assert tuple(meta['classes']) == data_set.classes
    assert tuple(meta['domains']) == data_set.domains
    assert {domain for domain, _ in data_set.counts} == set(data_set.domains)
    assert data_set.gsd_m.keys() == data_set.bands.keys() == set(data_set.domains)
    assert data_set.licence
    assert data_set.download
    assert data_set.url.startswith('http')


def test_names_are_unique():
    names = [name for found in SETTINGS for name in (found.id, found.config)]
    assert len(set(names)) == 58


# looking up

def test_by_both_names():
    assert setting('Sub2Tem') is setting('casid_sub2tem')
    assert setting('casid_sub2tem').target.domain == 'tem'


@pytest.mark.parametrize(('name', 'hint'), [
    ('casid_sub2temp', r"Did you mean 'casid_sub2tem'\?"), ('p(i)2v', r"Did you mean 'P\(i\)2V'"),
    ('xyz', r"no setting 'xyz'\. Its 29 settings are listed in docs/benchmark\.md")])
def test_unknown_name(name, hint):
    with pytest.raises(ConfigError, match=hint):
        setting(name)


def test_configs_that_answer_several_settings():
    assert [found.id for found in settings_of('casid_tms2all')] == [
        'Tms2Tms', 'Tms2Sub', 'Tms2Tem', 'Tms2Trf']
    assert [found.id for found in settings_of('potsdam-rgb2all')] == ['P(r)2P(i)', 'P(r)2V']
    assert [found.id for found in settings_of('vaihingen2all')] == ['V2P(i)', 'V2P(r)']
    assert settings_of('casid_sub2tem') == (setting('Sub2Tem'),)
    for name in ('whu_aerial2all', 'deepglobe2all', 'mine2all', 'mine', ''):
        assert settings_of(name) == ()


# the module and the page

def test_imports_the_standard_library_only():
    code = ('import sys, crossearth.benchmark; print([m for m in sys.modules if m.split(".")[0] '
            'in ("torch", "numpy", "mmengine", "mmseg", "cv2")])')
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == '[]'


def test_a_built_package_holds_the_numbers(tmp_path):
    subprocess.run(
        [sys.executable, 'setup.py', '-q', 'build_py', '--build-lib', str(tmp_path)],
        capture_output=True, check=True, cwd=ROOT)
    built = tmp_path / 'crossearth' / 'data' / 'rsdg_benchmark.csv'
    assert built.read_bytes() == (ROOT / 'crossearth/data/rsdg_benchmark.csv').read_bytes()


def test_page_is_up_to_date():
    page = (ROOT / 'docs' / 'benchmark.md').read_text(encoding='utf-8')
    assert page == rewrite_page(page), (
        'run: python tools/report.py --paper docs/benchmark.md')
    assert all(f'`{found.config}`' in page for found in SETTINGS)


def test_page_is_written_anew_between_its_marks_only():
    page = ('before\n<!-- generated: data sets -->\nold\n<!-- end -->\nbetween\n'
            '<!-- generated: settings -->\n<!-- end -->\nafter\n')
    written = rewrite_page(page)
    assert written.startswith('before\n<!-- generated: data sets -->\n\n| name |')
    assert 'old' not in written
    assert '<!-- end -->\nbetween\n<!-- generated: settings -->' in written
    assert written.endswith('<!-- end -->\nafter\n')
    assert ('| Tem2Sub | `casid_tem2sub` | region, climate | 5025 | 2200 | 1024 | 0.1, 64 | '
            '0.7, 128 | l1 | mIoU | 9.4 | 59.8 | 62.7 | **66.2** | 65.5 | 63.5 |') in written
    assert rewrite_page(written) == written


def test_page_without_a_block():
    with pytest.raises(DataError, match="no block '<!-- generated: settings -->'"):
        rewrite_page('<!-- generated: data sets -->\n<!-- end -->\n')
