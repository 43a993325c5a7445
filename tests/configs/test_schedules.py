# SPDX-License-Identifier: Apache-2.0
"""The recipes of the comparison systems: learning rates of every part, from first to last step."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

from crossearth.engine.config import load_config
from crossearth.registry import OPTIM_WRAPPER_CONSTRUCTORS

SCHEDULES = Path(__file__).parents[2] / 'configs' / '_base_' / 'schedules'


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        for name in ('backbone', 'decode_head', 'attention_head', 'auxiliary_head'):
            self.add_module(name, nn.ModuleDict(
                {'conv': nn.Conv2d(1, 1, 1, bias=False), 'norm': nn.LayerNorm(1, bias=False)}))


def groups_of(name, steps):
    """Optimiser of a recipe and the learning rate of its backbone at these steps, by part."""
    torch.manual_seed(0)
    cfg = load_config(SCHEDULES / f'{name}.py')
    model = Parts()
    wrapper = OPTIM_WRAPPER_CONSTRUCTORS.build({
        'type': cfg.optim_wrapper.pop('constructor'),
        'paramwise_cfg': cfg.optim_wrapper.pop('paramwise_cfg'),
        'optim_wrapper_cfg': cfg.optim_wrapper})(model)
    group_of = {id(p): g for g in wrapper.optimizer.param_groups for p in g['params']}
    parts = {name.removesuffix('.weight'): group_of[id(p)]
             for name, p in model.named_parameters()}
    schedulers = [PARAM_SCHEDULERS.build({**scheduler, 'optimizer': wrapper.optimizer})
                  for scheduler in cfg.param_scheduler]
    curve = {}
    assert cfg.train_cfg.max_iters == 30000
    for step in range(max(steps) + 1):
        if step in steps:
            curve[step] = parts['backbone.conv']['lr']
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return wrapper.optimizer, parts, curve


@pytest.mark.filterwarnings('ignore:Detected call of')
@pytest.mark.parametrize(('name', 'kind', 'decay', 'norm_decay', 'expected'), [
    ('deeplab', torch.optim.SGD, 5e-4, 5e-4, {0: 2.5e-4, 6000: 2.5e-4 * 0.8**0.9}),
    ('daformer', torch.optim.AdamW, 0.01, 0.0, {
        0: 6e-11, 750: 3e-5, 1500: 6e-5, 7200: 4.8e-5})])
def test_recipe(name, kind, decay, norm_decay, expected):
    optimizer, parts, curve = groups_of(name, set(expected))
    assert isinstance(optimizer, kind)
    assert optimizer.defaults.get('momentum', 0.9) == 0.9
    for part, group in parts.items():
        times = 1 if part.startswith('backbone') else 10
        assert group['initial_lr'] == pytest.approx(times * max(expected.values()))
        lowered = norm_decay if part == 'backbone.norm' else decay
        assert group['weight_decay'] == lowered, part
    assert curve == pytest.approx(expected, rel=2e-3)


def test_hrda_trains_as_daformer():
    hrda, daformer = (load_config(SCHEDULES / f'{name}.py') for name in ('hrda', 'daformer'))
    assert hrda.to_dict() == daformer.to_dict()
