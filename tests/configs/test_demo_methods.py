# SPDX-License-Identifier: Apache-2.0
"""Every method of the demo, and CrossEarth on MTP, trains two steps and is tested."""

from pathlib import Path

import pytest
from tiny_settings import run, shrink, write_classes

from crossearth.datasets import BlueMarbleClimate
from crossearth.engine.config import load_config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
DEMO = sorted((CONFIGS / 'demo').glob('*_subtropical_monsoon.py'))
# what the name of a config calls -> what its report calls the method
METHODS = {
    'adapter': 'BottleneckAdapter', 'crossearth': 'CrossEarth', 'full': 'full fine-tuning',
    'crossearth_mtp': 'CrossEarth on MTP', 'frozen': 'frozen backbone', 'gse': 'Rein + GSE',
    'gse_mim': 'Rein + GSE + MIM', 'linear': 'linear head',
    'lora': 'LoRA', 'mtp': 'MTP', 'rein': 'Rein', 'rein_own_queries': 'Rein, own queries',
    'crossearth_own_queries': 'CrossEarth, own queries'}


@pytest.fixture(scope='module')
def climates(tmp_path_factory):
    """BlueMarble-Climate, generated: two tiles of each climate."""
    root = tmp_path_factory.mktemp('data')
    for domain in BlueMarbleClimate.DEFAULT_DOMAINS:
        for split in ('train', 'test'):
            write_classes(root / 'bluemarble_climate' / split / domain, classes=6)
    return root


@pytest.mark.parametrize('path', DEMO, ids=lambda path: path.stem)
def test_demo_trains_and_tests(path, climates, monkeypatch, tmp_path):
    monkeypatch.setenv('CROSSEARTH_DATA', str(climates))
    runner, report = run(shrink(load_config(path)), tmp_path)
    assert runner.iter == 2
    assert report['source'] == ['subtropical_monsoon']
    assert {*report['domains']} == {*BlueMarbleClimate.DEFAULT_DOMAINS}
    method = path.stem.removesuffix('_subtropical_monsoon')
    assert report['run']['method'] == METHODS.get(method, report['run']['method'])


def test_crossearth_on_mtp_trains_and_tests(benchmark_data, tmp_path):
    path = CONFIGS / 'crossearth-mtp/deepglobe2massachusetts.py'
    runner, report = run(shrink(load_config(path)), tmp_path)
    assert report['run']['method'] == 'CrossEarth on MTP'
    assert {name.partition('.')[0] for name in runner.model.state_dict()} >= {
        'auxiliary_head', 'backbone', 'decode_head', 'mim_head', 'prompt'}
