# SPDX-License-Identifier: Apache-2.0
"""Every config of the project loads, passes the checks, and builds the model it names."""

import pickle
from functools import cache
from pathlib import Path

import pytest
import torch

from crossearth.engine.complete import complete_config
from crossearth.engine.config import load_config
from crossearth.registry import MODELS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
RUNNABLE = sorted(path for path in CONFIGS.rglob('*.py')
                  if not {'_base_', 'ablation'} & {*path.parts})
NAMES = [str(path.relative_to(CONFIGS)) for path in RUNNABLE]
# no pre-trained weights of their small backbones come with a package that sets up the demo
FROM_SCRATCH = {f'demo/{method}_subtropical_monsoon.py' for method in (
    'daformer', 'deeplabv2', 'hrda')}


def test_there_are_configs():
    for folder, number in (
            ('crossearth', 36), ('rein', 36), ('deeplab', 22), ('daformer', 36), ('hrda', 36),
            ('mtp', 36), ('crossearth-mtp', 1)):
        assert sum(name.startswith(f'{folder}/') for name in NAMES) == number
    assert {*NAMES} >= FROM_SCRATCH


@cache
def built(model):
    """Classes of a model and grid of its backbone; settings of equal models share one."""
    with torch.device('meta'):
        model = MODELS.build(pickle.loads(model))
    return model.num_classes, getattr(model.backbone, 'grid', None)


@pytest.mark.parametrize('name', NAMES)
def test_config_builds_its_model(name):
    cfg = complete_config(load_config(CONFIGS / name))
    num_classes, grid = built(pickle.dumps(cfg.model.to_dict()))
    assert num_classes == cfg.model.decode_head.num_classes
    assert cfg.model.backbone.weights is not None
    assert (cfg.model.backbone.weights == 'random') == (name in FROM_SCRATCH)
    if 'img_size' in cfg.model.backbone:
        assert grid == tuple(side // 16 for side in cfg.crop_size)
    assert cfg.test_evaluator.source == cfg.train_dataloader.dataset.domains
    assert cfg.test_evaluator.domains == cfg.test_dataloader.dataset.domains


@pytest.mark.parametrize('size', ['s', 'b', 'l', 'g'])
@pytest.mark.parametrize('method', ['crossearth', 'rein'])
def test_base_models(size, method):
    cfg = load_config(CONFIGS / f'_base_/models/{method}_dinov2-{size}.py')
    cfg.model.decode_head.num_classes, cfg.crop_size = 6, (512, 512)
    model = complete_config(cfg).model
    with torch.device('meta'):
        built = MODELS.build(model)
    trained = sum(p.numel() for p in built.parameters() if p.requires_grad)
    if (method, size) == ('rein', 'l'):
        assert trained == 2_990_081 + 20_576_455  # published Rein and head, six classes
    assert (built.backbone.gse is not None) == (method == 'crossearth')
    assert set(model.decode_head.in_channels) == {built.backbone.embed_dim}


@pytest.mark.parametrize(('name', 'trained'), [
    ('lora_dinov2-l', 24 * 2 * (8 * 1024 + 1024 * 8)),
    ('adapter_dinov2-l', 24 * (1024 * 64 + 64 + 64 * 1024 + 1024)),
    ('linear_dinov2-l', 0),
    ('full_dinov2-l', 304_198_656 - 2 * 1024),  # ViT-L at 512 px but for its final norm
    ('mtp_rvsa-b', 93_755_712 + (32**2 - 28**2) * 768 + 4 * 2 * 8 * 64)])  # MTP's is of 448 px
def test_trained_part_of_other_backbones(name, trained):
    cfg = load_config(CONFIGS / f'_base_/models/{name}.py')
    cfg.crop_size = (512, 512)
    for head in ('decode_head', 'auxiliary_head'):
        if head in cfg.model:
            cfg.model[head].num_classes = 6
    with torch.device('meta'):
        built = MODELS.build(complete_config(cfg).model)
    assert sum(p.numel() for p in built.backbone.parameters() if p.requires_grad) == trained
