# SPDX-License-Identifier: Apache-2.0
"""The comparison of methods: what it runs, on which data, and what its table says."""

import csv
import json
import sys
from pathlib import Path

import pytest
from fake_tools import FakeTools, load_tool

from crossearth.engine.config import load_config
from crossearth.errors import ConfigError, CrossEarthError

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


def rows(folder):
    with Path(folder, 'summary.csv').open() as file:
        return list(csv.DictReader(file))


def test_each_method_and_seed_once_and_its_costs(compare, capsys):
    calls = compare()
    out = 'work_dirs/compare_bluemarble_7'
    assert calls == [('train', f'{out}/{method}/seed{seed}')
                     for method in ('one', 'other') for seed in (0, 1)]
    assert '| one | 2 | ' in capsys.readouterr().out
    assert compare() == []
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


def test_unknown_methods_are_refused(compare, capsys):
    with pytest.raises(SystemExit):
        compare('--methods', 'deeplabv9')
    assert "invalid choice: 'deeplabv9'" in capsys.readouterr().err
