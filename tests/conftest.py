# SPDX-License-Identifier: Apache-2.0
"""Set-up shared by all tests: one thread, seeds, and where real data would lie."""

import os

os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from tiny_data import write_domain

torch.set_num_threads(1)  # tiny tensors: a second thread only spins (10 x slower beside others)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _isolated() -> Iterator[None]:
    """Seed, and take back what is left behind: a Runner's registry scope, GDAL's settings."""
    torch.manual_seed(0)
    np.random.seed(0)
    scopes, environment = dict(DefaultScope._instance_dict), dict(os.environ)
    yield
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(scopes)


@pytest.fixture(scope='session')
def golden() -> dict[str, np.ndarray]:
    """Tensors of the published modules at a tiny size (see tests/README.md)."""
    for folder in (os.environ.get('CROSSEARTH_SHARED'), ROOT.parent / 'shared'):
        if folder and (path := Path(folder) / 'golden' / 'published_tiny.npz').is_file():
            with np.load(path) as file:
                return {key: file[key] for key in file.files}
    pytest.skip('golden/published_tiny.npz is not on this machine (set CROSSEARTH_SHARED)')


TINY_CONFIG = """
_base_ = ['{configs}/_base_/models/demo_crossearth.py', '{configs}/_base_/schedules/demo.py',
          '{configs}/_base_/default_runtime.py']
crop_size = (32, 32)
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dim=32, depth=4, num_heads=2),
                  out_indices=(0, 1, 2, 3), weights='random',
                  adapter=dict(num_tokens=6, rank=2, query_dim=16),
                  injector=dict(dim=8, num_heads=2)),
    decode_head=dict(
        in_channels=(32,) * 4, feat_channels=16, num_points=32,
        pixel_decoder=dict(num_layers=1, num_heads=2, num_groups=4, ffn_channels=16),
        transformer_decoder=dict(num_layers=1, num_heads=2, ffn_channels=16)),
    mim_head=dict(channels=8), mask=dict(block=8),
    style=dict(kind='reinhard_lab', probability=0.5, block=8))
dataset = dict(
    type='DomainSegDataset', data_root='{root}', metainfo=dict(classes=('low', 'high')))
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(**dataset, split='train', domains=('dry',), pipeline=[
        dict(type='LoadImage'), dict(type='LoadLabel'), dict(type='RandomFlip', prob=0.5),
        dict(type='PackSegInputs')]))
test_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**dataset, split='test', domains=('dry', 'wet'), test_mode=True, pipeline=[
        dict(type='LoadImage'), dict(type='LoadLabel'),
        dict(type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'domain'))]))
test_evaluator = dict(type='DomainIoUMetric', source=('dry',))
train_cfg = dict(max_iters=2)
param_scheduler = [dict(type='ConstantLR', factor=1.0, by_epoch=False)]
del dataset
"""


@pytest.fixture
def tiny_config(tmp_path: Path) -> Path:
    """A config of a tiny model on two generated domains: `dry` (source) and `wet`."""
    root = tmp_path / 'tiles'
    write_domain(root, 'dry', 'train', 4)
    write_domain(root, 'dry', 'test', 3)
    write_domain(root, 'wet', 'test', 2)
    path = tmp_path / 'tiny.py'
    path.write_text(TINY_CONFIG.format(configs=ROOT / 'configs', root=root))
    return path
