# SPDX-License-Identifier: Apache-2.0
"""A domain gap of one's own: at most five lines over `_base_`, on generated and on real folders."""

import ast
import os
from pathlib import Path

import pytest
from tiny_settings import run, shrink, write_classes

from crossearth.engine.config import load_config
from crossearth.engine.runner import build_runner
from crossearth.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
BUILDINGS = ROOT / 'configs/demo/buildings_zanzibar2unseen.py'
UNSEEN = ['uganda', 'nepal', 'nepal_banepa_z19', 'philippines']
OWN = """
_base_ = ['{configs}/_base_/models/crossearth_dinov2-l.py',
          '{configs}/_base_/datasets/folders_512.py',
          '{configs}/_base_/schedules/published_512.py', '{configs}/_base_/default_runtime.py']
data_root = '{root}'
classes = ['background', 'road', 'water']
source, targets = ['dry'], ['wet', 'high']
"""


@pytest.fixture
def own(tmp_path):
    for domain in ('dry', 'wet', 'high'):
        write_classes(tmp_path / 'mine' / domain, classes=3)
    path = tmp_path / 'mine.py'
    path.write_text(OWN.format(configs=ROOT / 'configs', root=tmp_path / 'mine'))
    return path


def test_own_folders(own, tmp_path):
    _, report = run(shrink(load_config(own)), tmp_path / 'run')
    assert list(report['domains']) == ['wet', 'high']
    assert report['source'] == ['dry']
    assert report['classes'] == ['background', 'road', 'water']


def test_missing_folder_of_a_domain_is_named(own):
    cfg = load_config(own, {'targets': ['wet', 'hihg']})
    missing = r"(?s)mine/hihg/images does not exist.*Did you mean 'high'"
    with pytest.raises(DataError, match=missing):
        build_runner(shrink(cfg))


@pytest.mark.parametrize('text', [OWN.format(configs='', root=''), BUILDINGS.read_text()],
                         ids=['own', 'buildings'])
def test_at_most_five_lines_over_the_bases(text):
    statements = ast.parse(text).body
    assert statements[0].targets[0].id == '_base_'
    assert sum(s.end_lineno - s.lineno + 1 for s in statements[1:]) <= 5


def test_small_folders_are_segmented_at_256_px():
    cfg = load_config(BUILDINGS)
    test = [step.type for step in cfg.test_dataloader.dataset.pipeline]
    assert test.index('Resize') < test.index('LoadLabel')  # the label keeps its size
    assert cfg.test_pipeline[1].scale == (256, 256)


def test_baselines_runtime_is_the_default_one_with_baselines():
    default, ours = (load_config(ROOT / f'configs/_base_/{name}_runtime.py').to_dict()
                     for name in ('default', 'baselines'))
    hooks = ours.pop('custom_hooks')
    assert [hook['type'] for hook in hooks] == [h['type'] for h in default.pop('custom_hooks')]
    assert {'type': 'DomainReportHook', 'baselines': True} in hooks
    assert ours == default


def test_real_buildings(tmp_path):
    shared = Path(os.environ.get('CROSSEARTH_SHARED') or ROOT.parent / 'shared')
    folder = shared / 'data' / 'buildings'
    if not folder.is_dir():
        pytest.skip('data/buildings is not on this machine (set CROSSEARTH_SHARED)')
    cfg = shrink(load_config(BUILDINGS, data_root=folder))
    cfg.train_dataloader.dataset.indices = 8
    cfg.test_dataloader.dataset.indices = [0, 40, 70, 110]  # one image of each region
    _, report = run(cfg, tmp_path)
    assert list(report['domains']) == UNSEEN
    assert report['foreground'] == 1
    assert len(report['baselines']) == 2
