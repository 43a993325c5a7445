# SPDX-License-Identifier: Apache-2.0
"""Groups of the optimiser, and autocast."""

import pytest
import torch
from torch import nn

from crossearth.engine.optim import BF16OptimWrapper, TrainableOptimWrapperConstructor
from crossearth.errors import ConfigError


def build(model, **custom_keys):
    config = {'optimizer': {'type': 'SGD', 'lr': 0.1, 'weight_decay': 0.01}}
    return TrainableOptimWrapperConstructor(config, {'custom_keys': custom_keys})(model)


def test_frozen_are_left_out_and_equal_options_share_a_group():
    model = nn.ModuleDict(
        {'head': nn.Linear(2, 2), 'norm': nn.LayerNorm(2), 'vit': nn.Linear(2, 2)})
    model['vit'].requires_grad_(False)
    groups = build(model, norm={'decay_mult': 0.0}).optimizer.param_groups
    assert [(g['lr'], g['weight_decay'], len(g['params'])) for g in groups] == [
        (0.1, 0.01, 2), (0.1, 0.0, 2)]


def test_the_longest_key_counts():
    model = nn.ModuleDict({'head': nn.ModuleDict({'norm': nn.LayerNorm(2), 'fc': nn.Linear(2, 2)})})
    groups = build(
        model, head={'lr_mult': 10.0}, **{'head.norm': {'lr_mult': 0.5}}).optimizer.param_groups
    assert sorted((g['lr'], len(g['params'])) for g in groups) == [(0.05, 2), (1.0, 2)]


def test_unknown_options_are_refused():
    with pytest.raises(ConfigError, match=r"\['norm_decay'\] is not known"):
        TrainableOptimWrapperConstructor({'optimizer': {}}, {'norm_decay': 0})
    with pytest.raises(ConfigError, match=r"\['decay'\] is not known"):
        TrainableOptimWrapperConstructor({'optimizer': {}}, {'custom_keys': {'x': {'decay': 0}}})


def test_bf16_forward_fp32_weights():
    model = nn.Linear(4, 4)
    wrapper = BF16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    before = model.weight.clone()
    with wrapper.optim_context(model):
        out = model(torch.ones(1, 4))
    assert out.dtype == torch.bfloat16
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype == torch.float32
    assert not torch.equal(model.weight, before)
