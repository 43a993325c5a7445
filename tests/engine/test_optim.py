# SPDX-License-Identifier: Apache-2.0
"""Groups of the optimiser, and mixed precision."""

import copy

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from crossearth.compat import load_checkpoint
from crossearth.engine.complete import complete_config
from crossearth.engine.config import load_config
from crossearth.engine.optim import AutocastOptimWrapper, TrainableOptimWrapperConstructor
from crossearth.errors import ConfigError
from crossearth.models.heads.mask2former import loss
from crossearth.registry import MODELS, OPTIM_WRAPPERS

BOTH = pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])


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


# ------------------------------------------------------------- mixed precision of the whole method

@pytest.fixture
def segmentor(tiny_config):
    """A tiny CrossEarthSegmentor, all of whose iterations are styled; equal at each call."""
    cfg = complete_config(load_config(tiny_config, {'model.style.probability': 1}))

    def make():
        torch.manual_seed(0)
        return MODELS.build(copy.deepcopy(cfg.model)).train()
    return make


def wrap(model, dtype, **options):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-2)
    kind = 'AutocastOptimWrapper' if dtype else 'OptimWrapper'
    precision = {'dtype': dtype} if dtype else {}
    return OPTIM_WRAPPERS.build({'type': kind, 'optimizer': optimizer, **precision, **options})


def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, 3, 32, 32), generator=generator, dtype=torch.uint8)
    samples = [SegDataSample(metainfo={'img_shape': (32, 32)}) for _ in images]
    for sample in samples:
        sample.gt_sem_seg = PixelData(data=(torch.arange(32) // 16).expand(1, 32, 32))
    return {'inputs': list(images), 'data_samples': samples}


def losses_and_gradients(model, dtype):
    half = dtype == 'float16'
    # small enough that no gradient overflows in the first iteration
    wrapper = wrap(model, dtype, **({'loss_scale': {'init_scale': 64.0}} if half else {}))
    with wrapper.optim_context(model):
        losses = model(**model.data_preprocessor(batch(), training=True), mode='loss')
    total, _ = model.parse_losses(losses)
    wrapper.backward(total)
    assert {value.dtype for value in losses.values()} == {torch.float32}
    values = {name: float(value.detach()) for name, value in losses.items()}
    scale = wrapper.scaler.get_scale() if half else 1
    gradients = {n: p.grad / scale for n, p in model.named_parameters() if p.grad is not None}
    return values, gradients


@BOTH
def test_losses_and_gradients_are_those_of_float32(segmentor, dtype, monkeypatch):
    # queries of nearly equal costs would be assigned otherwise
    match = loss.match
    monkeypatch.setattr(loss, 'match', lambda costs: match(
        [-torch.eye(*cost.shape[1:]).expand_as(cost) for cost in costs]))
    expected, wanted = losses_and_gradients(segmentor(), None)
    values, gradients = losses_and_gradients(segmentor(), dtype)
    assert {'mim.loss_s', 'mim.loss_delta', 'decode.d0.loss_dice'} <= values.keys()
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, rel=0.03), name
    assert gradients.keys() == wanted.keys()

    def silent(part):
        return {name for name, gradient in part.items() if not gradient.any()}

    assert silent(gradients) == silent(wanted)
    ours, theirs = (torch.cat([part[name].flatten() for name in wanted])
                    for part in (gradients, wanted))
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.99
    torch.testing.assert_close(ours.norm(), theirs.norm(), rtol=0.05, atol=0)


@BOTH
def test_it_learns_with_weights_in_float32(segmentor, dtype):
    model = segmentor()
    wrapper = wrap(model, dtype, clip_grad={'max_norm': 10.0})
    losses = [float(model.train_step(batch(), wrapper)['loss'].detach()) for _ in range(30)]
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])
    assert all(p.dtype == torch.float32 for p in model.parameters())


# ------------------------------------------------------------------------------------ loss scaling

def line(dtype='float16', **options):
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    if dtype == 'float16':
        options = {'loss_scale': {'init_scale': 8.0}, **options}
    return model, AutocastOptimWrapper(
        torch.optim.Adam(model.parameters(), lr=0.1), dtype, **options)


def step(model, wrapper, factor=1.0):
    with wrapper.optim_context(model):
        out = model(torch.linspace(0.1, 1, 4))
    wrapper.update_params(factor * out.float().sum())


@BOTH
def test_forward_is_in_autocast(dtype):
    model, wrapper = line(dtype)
    with wrapper.optim_context(model):
        assert model(torch.ones(4)).dtype == getattr(torch, dtype)
    assert not torch.is_autocast_enabled('cpu')


def test_an_overflow_leaves_the_update_out_and_halves_the_scale():
    model, wrapper = line(clip_grad={'max_norm': 1.0})
    step(model, wrapper)
    weight, state = model.weight.clone(), copy.deepcopy(wrapper.optimizer.state_dict())
    assert state['state'][0]['step'] == 1
    scale = wrapper.scaler.get_scale()
    hook = model.weight.register_hook(lambda gradient: gradient * float('inf'))
    step(model, wrapper)  # a finite loss whose gradient overflows
    hook.remove()
    assert torch.equal(model.weight, weight)
    torch.testing.assert_close(wrapper.optimizer.state_dict(), state, rtol=0, atol=0)
    assert wrapper.scaler.get_scale() == scale / 2
    assert MessageHub.get_current_instance().get_scalar('train/amp_scale').current() == scale / 2
    assert model.weight.grad is None  # the next iteration starts afresh
    step(model, wrapper)
    assert model.weight.isfinite().all()
    assert not torch.equal(model.weight, weight)


def test_a_gradient_beyond_float16_finds_its_scale():
    model, wrapper = line(loss_scale={'init_scale': 2.0**20})
    before = model.weight.clone()
    for _ in range(8):
        step(model, wrapper)  # 2^20 is infinite in float16, and so is the gradient
    assert wrapper.scaler.get_scale() < 2**17
    assert not torch.equal(model.weight, before)
    assert model.weight.isfinite().all()


@pytest.mark.parametrize('options', [
    {}, {'clip_grad': {'max_norm': 0.1}}, {'clip_grad': {'type': 'value', 'clip_value': 0.1}},
    {'accumulative_counts': 2}])
def test_scaling_changes_no_update(options):
    # outside of autocast: only scaling, and powers of two are exact
    updated = []
    for wrapper_type in (AutocastOptimWrapper, OptimWrapper):
        model, _ = line()
        precision = {'dtype': 'float16'} if wrapper_type is AutocastOptimWrapper else {}
        wrapper = wrapper_type(
            torch.optim.SGD(model.parameters(), lr=1.0), **precision, **copy.deepcopy(options))
        for index in range(4):
            wrapper.update_params((model(torch.ones(4)) * (index + 1)).square().sum())
        updated.append(model.weight)
    torch.testing.assert_close(*updated, rtol=1e-6, atol=0)


def test_resume_goes_on_exactly(tmp_path):
    options = {'loss_scale': {'init_scale': 8.0, 'growth_interval': 3}}
    model, wrapper = line(**options)
    for _ in range(2):
        step(model, wrapper)
    torch.save({'weights': model.state_dict(), 'optimizer': wrapper.state_dict()}, tmp_path / 'x')
    resumed, other = line(**{'loss_scale': {'init_scale': 2.0, 'growth_interval': 3}})
    checkpoint = load_checkpoint(tmp_path / 'x')
    resumed.load_state_dict(checkpoint['weights'])
    other.load_state_dict(checkpoint['optimizer'])
    for _ in range(2):
        for pair in ((model, wrapper), (resumed, other)):
            step(*pair)
        assert other.scaler.state_dict() == wrapper.scaler.state_dict()
        assert torch.equal(resumed.weight, model.weight)
    assert other.scaler.get_scale() == 16  # grew after the third update


@pytest.mark.parametrize(('saved', 'loaded'), [('float16', 'bfloat16'), ('bfloat16', 'float16')])
def test_a_state_of_the_other_precision_loads(saved, loaded):
    model, wrapper = line(saved)
    step(model, wrapper)
    _, other = line(loaded)
    state = wrapper.state_dict()
    other.load_state_dict(state)
    assert ('loss_scaler' in state) == (saved == 'float16')
    assert other.optimizer.state_dict()['state'][0]['step'] == 1
    assert ('loss_scaler' in other.state_dict()) == (loaded == 'float16')


@pytest.mark.parametrize(('options', 'match'), [
    ({'dtype': 'fp16'}, r"optim_wrapper\.dtype='fp16' is unknown.*'float16'"),
    ({'dtype': 'float16', 'loss_scale': {'scale': 2}}, r"\['scale'\] is not known.*init_scale"),
    ({'loss_scale': {'init_scale': 2.0}}, r"not known with dtype='bfloat16'.*'float16' only")])
def test_bad_precision_is_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        AutocastOptimWrapper(torch.optim.SGD(nn.Linear(1, 1).parameters()), **options)
