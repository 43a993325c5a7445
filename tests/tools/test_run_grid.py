# SPDX-License-Identifier: Apache-2.0
"""The ablation runner: what it plans, what it does again, what it tabulates; and its grids."""

import csv
import json
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_tools import FakeTools, load_tool, report
from mmengine.config import Config

from crossearth.engine.complete import complete_data
from crossearth.engine.config import load_config
from crossearth.engine.experiments import stretch_schedule
from crossearth.errors import ConfigError
from crossearth.evaluation import DomainReport, DomainResult, SpreadTable

ROOT = Path(__file__).resolve().parents[2]
GRID = """
custom_cells = {
    'Rein': {'model.backbone.gse': None, 'model.backbone.injector': None, 'model.mim_head': None},
    'all of it': {}}
"""


@pytest.fixture
def grid(tmp_path, tiny_config, monkeypatch):
    """Call the runner in a folder of its own, with tools that do nothing."""
    module = load_tool('run_grid', monkeypatch)
    (tmp_path / 'grid.py').write_text(GRID)
    monkeypatch.chdir(tmp_path)
    tools = FakeTools()
    tools.install(monkeypatch)

    def call(*options):
        tools.calls.clear()
        monkeypatch.setattr(sys, 'argv', [
            'run_grid.py', 'grid.py', '--data', str(tiny_config), '--iters', '7', *options])
        module.main()
        return list(tools.calls)

    call.module, call.tools = module, tools
    return call


def test_runs_each_cell_and_seed_once(grid, capsys):
    calls = grid('--seeds', '0', '1')
    out = 'work_dirs/grid_tiny_7'
    folders = [f'{out}/{cell}/seed{seed}' for cell in ('Rein', 'all_of_it') for seed in (0, 1)]
    assert calls == [('train', folder) for folder in folders]  # which tests, too
    assert '| all of it | 2 | ' in capsys.readouterr().out
    assert grid('--seeds', '0', '1') == []
    assert len(grid('--seeds', '2')) == 2
    rein, whole = (load_config(f'{folder}.py') for folder in (folders[1], folders[3]))
    assert rein.model.mim_head is rein.model.backbone.gse is None
    assert whole.model.mim_head.channels == 8
    assert (rein.randomness.seed, rein.train_cfg.max_iters) == (1, 7)


def test_a_changed_config_is_run_again(grid):
    grid('--seeds', '0')
    calls = grid('--seeds', '0', '--cfg-options', 'model.mask.block=4')
    assert [line[0] for line in calls] == ['train', 'train']
    assert not any('--resume' in line for line in calls)
    assert sorted(path.name for path in Path('work_dirs/grid_tiny_7/Rein').iterdir()) == [
        'seed0', 'seed0.old1', 'seed0.py']


@pytest.mark.parametrize(('iteration', 'rest'), [
    (3, ('train', '--resume')), (7, ('test', 'iter_7.pth'))], ids=['training', 'test'])
def test_failed_run_is_named_and_goes_on_where_it_failed(grid, iteration, rest):
    grid.tools.broken = iteration
    with pytest.raises(Exception, match=r'2 of 4 runs failed: .*Rein/seed1/log\.txt'):
        grid('--seeds', '0', '1')
    out = Path('work_dirs/grid_tiny_7')
    assert 'no space left' in (out / 'Rein/seed1/log.txt').read_text()
    assert json.loads((out / 'summary.json').read_text())['cells']['Rein']['seeds'] == [0]
    grid.tools.broken = 0
    calls = grid('--seeds', '0', '1')
    assert [(tool, Path(option).name) for tool, _, option in calls] == [rest, rest]
    assert [folder for _, folder, _ in calls] == [
        f'{out}/{cell}/seed1' for cell in ('Rein', 'all_of_it')]


def test_data_root_is_part_of_the_config(grid, tmp_path):
    (tmp_path / 'moved').mkdir()
    (tmp_path / 'tiles').rename(tmp_path / 'moved' / 'tiles')
    grid('--seeds', '0', '--data-root', str(tmp_path / 'moved'))
    config = load_config('work_dirs/grid_tiny_7/Rein/seed0.py')
    assert config.test_dataloader.dataset.data_root == str(tmp_path / 'moved' / 'tiles')


def test_schedule_keeps_its_shape(grid):
    config = Config.fromfile(ROOT / 'configs/_base_/schedules/published_1024.py')
    stretch_schedule(config, 300)
    assert config.train_cfg.max_iters == 300
    assert [(s.begin, s.end) for s in config.param_scheduler] == [(0, 100), (100, 400)]


@pytest.mark.parametrize(('text', 'match'), [
    ('', 'is no grid: it needs either custom_cells'),
    ("custom_cells = {'a': {}}\ncustom_axes = {'model.mask.block': [1]}", 'is no grid'),
    ("custom_cells = {'odd': {'model.mim_haed': None}}", r"cell 'odd': .*Did you mean 'mim_head'"),
])
def test_bad_grids(grid, tmp_path, text, match):
    (tmp_path / 'grid.py').write_text(text)
    with pytest.raises(ConfigError, match=match):
        grid()


GRIDS = {'table8': 4, 'table9': 3, 'table11': 12, 'table12': 12, 'table13': 2,
         'demo_learning_rate': 3, 'demo_whole': 9}


def test_every_shipped_grid_is_tested():
    assert {path.stem for path in (ROOT / 'configs/ablation').glob('*.py')} == GRIDS.keys()


@pytest.mark.parametrize(('name', 'cells'), GRIDS.items())
@pytest.mark.parametrize('data', ['bluemarble', 'casid'])
def test_shipped_grids(grid, name, cells, data):
    path = ROOT / f'configs/ablation/{name}.py'
    content = dict(grid.module.cells(path))
    assert len(content) == cells
    base = complete_data(load_config(path.parent / 'data' / f'{data}.py'))
    assert len(base.test_evaluator.domains) == 4
    for cell in (min(content), max(content)):
        options = content[cell]
        config = load_config(path.parent / 'data' / f'{data}.py', options)
        assert config.model.type == 'CrossEarthSegmentor', cell
        for key, value in options.items():
            node = config
            for part in key.split('.'):
                node = node[part]
            assert node == value


# ------------------------------------------------------------------------------------- the table

def test_table_is_mean_and_sample_deviation():
    cells = {'a': {2: report(310), 0: report(300), 1: report(350)}, 'b': {0: report(100)}, 'c': {}}
    table = SpreadTable(cells)
    unseen = [cells['a'][seed].summary('wet')['mIoU'] for seed in (0, 1, 2)]
    mean, deviation = statistics.fmean(unseen), statistics.stdev(unseen)
    lines = table.markdown().splitlines()
    assert lines[0] == '| mIoU, % | seeds | dry (source) | wet | mean over unseen |'
    assert lines[2].endswith(f'| {mean:.2f} ± {deviation:.2f} |')
    assert lines[3].startswith('| b | 1 | 33.33 |')
    assert lines[4] == '| c | 0 | n/a | n/a | n/a |'
    rows = list(csv.DictReader(table.csv().splitlines()))
    assert float(rows[0]['wet mean']) == pytest.approx(mean, abs=1e-3)
    assert float(rows[0]['wet deviation']) == pytest.approx(deviation, abs=1e-3)
    assert rows[1]['wet deviation'] == rows[2]['wet mean'] == ''
    cell = json.loads(table.json(iters=7))
    assert cell['iters'] == 7
    assert cell['cells']['a']['seeds'] == [0, 1, 2]
    assert cell['cells']['a']['wet']['values'] == pytest.approx(unseen, abs=1e-3)


def test_undefined_numbers_stay_undefined():
    empty = DomainReport(('low', 'high'), ('dry',), {
        'dry': DomainResult(np.zeros((2, 2), dtype=np.int64), 1)})
    table = SpreadTable({'a': {0: empty, 1: empty}})
    assert table.markdown().splitlines()[2] == '| a | 2 | n/a |'
    assert json.loads(table.json())['cells']['a']['dry (source)']['deviation'] is None
