# SPDX-License-Identifier: Apache-2.0
"""The comparison of methods: what it runs, on which data, and what its table says."""

import csv
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_tools import FakeTools, load_tool

from crossearth.engine.config import load_config
from crossearth.errors import ConfigError, CrossEarthError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
ONE = 'one_subtropical_monsoon.py'
OTHER = 'other_subtropical_monsoon.py'


@pytest.fixture
def compare(tmp_path, tiny_config, monkeypatch):
    """Call the tool with two methods on tiny data, and tools that do nothing."""
    module = load_tool('compare', monkeypatch)
    text = tiny_config.read_text()
    (tmp_path / ONE).write_text(text)
    (tmp_path / OTHER).write_text(text + "model['mim_head'] = model['style'] = None\n")
    monkeypatch.setattr(module, 'CONFIGS', tmp_path)
    monkeypatch.setattr(module, 'TABLES', tmp_path / 'tables')
    monkeypatch.chdir(tmp_path)
    tools = FakeTools()
    tools.install(monkeypatch)

    def call(*options):
        tools.calls.clear()
        monkeypatch.setattr(sys, 'argv', [
            'compare.py', '--methods', 'one', 'other', '--iters', '7', '--seeds', '0', '1',
            *options])
        module.main()
        return list(tools.calls)

    call.tools = tools
    return call


def rows(folder, name='summary.csv'):
    with Path(folder, name).open() as file:
        return list(csv.DictReader(file))


def test_each_method_and_seed_once_and_its_costs(compare, capsys):
    calls = compare()
    out = 'work_dirs/compare_bluemarble_7'
    assert calls == [('train', f'{out}/{method}/seed{seed}')
                     for seed in (0, 1) for method in ('one', 'other')]  # whole seeds first
    printed = capsys.readouterr().out
    assert '| one | 2 | ' in printed
    assert '[4/4] other, seed 1: done' in printed
    assert compare() == []
    printed = capsys.readouterr().out  # what is finished is not told again, run by run
    assert '/4]' not in printed
    assert '| one | 2 | ' in printed
    one, other = rows('tables/compare_bluemarble_7')
    assert (one['s/iteration'], one['peak memory, MB']) == ('2.0', '70.0')
    assert float(one['trained, M']) > float(other['trained, M']) > 0
    assert one['pre-trained'] == 'random'
    facts = json.loads(Path('tables/compare_bluemarble_7/summary.json').read_text())
    assert {'machine', 'date', 'commit', 'jobs', 'source'} <= facts.keys()


def test_other_data_and_source_take_the_place_of_the_methods_own(compare, tmp_path):
    Path('mine.py').write_text("train_dataloader = dict(dataset=dict(split='all'))\n")
    with pytest.raises(CrossEarthError, match='split'):
        compare('--data', 'mine.py')  # they are looked at before anything runs
    Path('mine.py').write_text('train_dataloader = dict(drop_last=True)\n')
    compare('--data', 'mine.py', '--source', 'wet', '--out', 'runs', '--table', 'table')
    config = load_config('runs/other/seed1.py')
    assert config.train_dataloader.drop_last is True
    assert config.source == ['wet']
    assert len(rows('table')) == 2


def test_an_unequal_number_of_images_is_no_comparison(compare, tmp_path):
    with (tmp_path / OTHER).open('a') as file:
        file.write("train_dataloader['batch_size'] = 3\n")
    with pytest.raises(ConfigError, match=r"batch sizes are \{'one': 2, 'other': 3\}"):
        compare()
    assert compare.tools.calls == []


def test_what_failed_is_named_and_the_rest_is_tabulated(compare):
    compare.tools.broken = 3
    with pytest.raises(CrossEarthError, match=r'2 of 4 runs failed: .*one/seed1/log\.txt'):
        compare('--jobs', '2')
    assert [row['seeds'] for row in rows('tables/compare_bluemarble_7')] == ['1', '1']


@pytest.mark.parametrize(('options', 'message'), [
    (('--methods', 'deeplabv9'), "invalid choice: 'deeplabv9'"),
    (('--methods', 'one', '--baseline', 'other'), '--baseline other is not among --methods')])
def test_unknown_methods_are_refused(compare, capsys, options, message):
    with pytest.raises(SystemExit):
        compare(*options)
    assert message in capsys.readouterr().err


def test_a_config_of_data_gives_data_and_no_method(compare, tiny_config, tmp_path):
    whole = tiny_config.read_text() + (
        "model['test_cfg'] = dict(mode='whole')\ntrain_dataloader['batch_size'] = 3\n"
        "model['mim_head']['channels'] = 16\ntrain_cfg = dict(max_iters=99)\n")
    (tmp_path / 'mine.py').write_text(whole)
    compare('--data', 'mine.py', '--out', 'runs')
    one, other = (load_config(f'runs/{method}/seed0.py') for method in ('one', 'other'))
    assert other.model.mim_head is other.model.style is None
    assert one.model.mim_head.channels == 8
    assert one.train_dataloader.batch_size == other.train_dataloader.batch_size == 3
    assert one.model.test_cfg.mode == 'whole'
    assert one.train_cfg.max_iters == 7


def test_the_shipped_config_of_data_leaves_each_method_as_it_is(monkeypatch):
    module = load_tool('compare', monkeypatch)
    args = SimpleNamespace(data=str(CONFIGS / 'demo/buildings_zanzibar2unseen.py'),
                           cfg_options=None, data_root=None)
    for method in ('rein', 'crossearth', 'daformer', 'deeplabv2'):
        mine = load_config(CONFIGS / f'demo/{method}_subtropical_monsoon.py').model
        config = module.read_method(method, args, None, 0)
        assert config.model.pop('test_cfg').mode == 'slide'
        assert mine.pop('test_cfg')
        assert config.model.to_dict() == mine.to_dict()
        assert config.source == ['zanzibar']


# -------------------------------------------------------------------------------- several sources

def test_several_sources_have_tables_of_their_own_and_a_joint_one(compare, capsys):
    calls = compare('--source', 'dry', 'wet', '--baseline', 'one')
    out = Path('work_dirs/compare_bluemarble_2sources_7')
    assert calls == [('train', f'{out}/{source}/{method}/seed{seed}') for seed in (0, 1)
                     for source in ('dry', 'wet') for method in ('one', 'other')]
    assert load_config(out / 'wet/one/seed1.py').source == ['wet']
    table = Path('tables') / out.name
    assert [row['seeds'] for source in ('dry', 'wet') for row in rows(table / source)] == ['2'] * 4
    assert [row['runs'] for row in rows(table)] == ['4', '4']
    printed = capsys.readouterr().out
    assert '[8/8] wet, other, seed 1: done' in printed
    assert '| other | 4 | +0.00 [+0.00, +0.00] |' in printed
    facts = json.loads((table / 'summary.json').read_text())
    assert facts['sources'] == ['dry', 'wet']
    assert facts['differences']['methods']['other']['mean over unseen']['pairs'] == 4
    assert json.loads((table / 'wet/summary.json').read_text())['source'] == 'wet'
    assert (table / 'differences.png').stat().st_size > 5000


def test_the_order_of_the_methods_makes_no_other_experiment(compare):
    study = ('--source', 'dry', 'wet', '--table', 'table')
    assert len(compare(*study)) == 8
    for file in Path('work_dirs').glob('*/*/*/seed0.py'):
        first, second = (load_config(file.with_name(f'seed{seed}.py')) for seed in (0, 1))
        assert first.randomness.pop('seed') != second.randomness.pop('seed')
        assert first.to_dict() == second.to_dict()
    shutil.rmtree('work_dirs')
    assert compare(*study, '--methods', 'other', 'one') == []
    assert compare(*study, '--methods', 'other') == []


def test_a_single_source_has_differences_beside_its_table(compare):
    compare('--baseline', 'one', '--table', 'table')
    assert {path.name for path in Path('table').iterdir()} == {
        *(f'summary.{kind}' for kind in ('md', 'csv', 'json')),
        *(f'differences.{kind}' for kind in ('md', 'csv', 'png')), 'runs.csv', 'reports'}
    facts = json.loads(Path('table/summary.json').read_text())
    assert facts['differences']['baseline'] == 'one'
    assert facts['cells']['other']['seeds'] == [0, 1]


def test_several_tables_share_their_runs(compare):
    study = ('--source', 'dry', 'wet', '--baseline', 'one', '--table', 'table')
    assert len(compare(*study)) == 8
    shutil.rmtree('work_dirs')
    assert compare(*study, '--baseline', 'other', '--table', 'turned',
                   '--records', 'table/reports') == []
    assert rows('turned') == rows('table')
    assert not Path('turned/reports').exists()
    facts = json.loads(Path('turned/summary.json').read_text())
    assert facts['differences']['baseline'] == 'other'


def test_every_run_can_be_traced(compare):
    compare('--source', 'dry', 'wet', '--table', 'table')
    found = rows('table', 'runs.csv')
    assert len(found) == 8
    assert {(row['source'], row['method'], row['seed']) for row in found} == {
        (source, method, seed) for source in ('dry', 'wet') for method in ('one', 'other')
        for seed in ('0', '1')}
    first = found[0]
    assert first['checkpoint_sha256'] == '1' * 64
    hashes = {(row['source'], row['method']): row['config_sha256'] for row in found}
    assert len({*hashes.values()}) == 4  # the seed makes no other experiment
    assert float(first['seconds per iteration']) == 2
    assert first['machine']
    assert first['date']
    assert float(first['mean over unseen']) == pytest.approx(float(first['wet']))
    assert not Path('table/differences.md').exists()  # no baseline among the methods


def test_time_that_is_up_leaves_the_rest_for_the_same_command(compare, capsys, monkeypatch):
    clock = iter(range(0, 1000, 30))  # half a minute between two looks
    monkeypatch.setattr('crossearth.engine.experiments.time',
                        SimpleNamespace(monotonic=lambda: next(clock)))
    study = ('--source', 'dry', 'wet', '--baseline', 'one', '--table', 'table')
    assert len(compare(*study, '--minutes', '2')) == 2
    assert capsys.readouterr().out.splitlines()[-1] == (
        'Time is up: 6 of 8 runs are left, next wet, one, seed 0. '
        'The same command goes on with them.')
    assert [row['runs'] for row in rows('table')] == ['1', '1']
    assert len(compare(*study)) == 6
    assert 'Time is up' not in capsys.readouterr().out
    assert [row['runs'] for row in rows('table')] == ['4', '4']


def test_no_time_at_all_writes_the_tables_of_what_is_finished(compare, capsys):
    study = ('--source', 'dry', 'wet', '--baseline', 'one', '--table', 'table')
    compare(*study)
    shutil.rmtree('work_dirs')
    Path('table/summary.csv').unlink()
    Path('table/reports/wet/one/seed1.json').unlink()
    assert compare(*study, '--minutes', '0') == []
    assert '1 of 8 runs are left, next wet, one, seed 1.' in capsys.readouterr().out
    assert [row['runs'] for row in rows('table')] == ['3', '4']
    with pytest.raises(SystemExit):
        compare(*study, '--minutes', '-1')
    assert 'must not be negative' in capsys.readouterr().err


def test_what_is_kept_beside_the_tables_is_not_run_again_in_another_checkout(compare, tmp_path):
    study = ('--source', 'dry', 'wet', '--baseline', 'one', '--table', 'table')
    compare(*study)
    before = {path: path.read_text() for path in Path('table').rglob('*.csv')}
    shutil.rmtree('work_dirs')
    assert compare(*study) == []
    assert {path: path.read_text() for path in Path('table').rglob('*.csv')} == before
    Path('table/reports/wet/one/seed1.json').unlink()
    [(tool, folder)] = compare(*study)
    assert (tool, folder[-13:]) == ('train', 'wet/one/seed1')
    with (tmp_path / OTHER).open('a') as file:  # another experiment
        file.write("model['decode_head']['num_points'] = 31\n")
    assert {folder.split('/')[-2] for _, folder in compare(*study)} == {'other'}
