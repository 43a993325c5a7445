# SPDX-License-Identifier: Apache-2.0
"""Every config of the project loads, passes the checks, and builds the model it names."""

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


def test_there_are_configs():
    for folder, number in (('crossearth', 36), ('rein', 36), ('demo', 13)):
        assert sum(name.startswith(f'{folder}/') for name in NAMES) == number


@pytest.mark.parametrize('name', NAMES)
def test_config_builds_its_model(name):
    cfg = complete_config(load_config(CONFIGS / name))
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert model.num_classes == cfg.model.decode_head.num_classes
    assert cfg.model.backbone.weights not in (None, 'random')
    assert model.backbone.grid == tuple(side // 16 for side in cfg.crop_size)
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
