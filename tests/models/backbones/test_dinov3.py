# SPDX-License-Identifier: Apache-2.0
"""DINOv3 with adapters: timm's own features, its files, what stays frozen, and its configs."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from crossearth.engine.complete import complete_config
from crossearth.engine.config import load_config
from crossearth.engine.runner import build_runner
from crossearth.errors import CheckpointError, ConfigError, MissingDependencyError
from crossearth.registry import MODELS
from crossearth.weights import SOURCES, load_backbone

MODEL_CONFIGS = Path(__file__).resolve().parents[3] / 'configs' / '_base_' / 'models'
SIZES = {'embed_dim': 32, 'depth': 4, 'num_heads': 2}
REIN = {'type': 'LoRARein', 'num_tokens': 6, 'rank': 2, 'query_dim': 8}
INJECTOR = {'dim': 8, 'num_heads': 2}


def timm():
    return pytest.importorskip('timm', reason='timm is an extra (backbones)')


def build(**kwargs):
    timm()
    return MODELS.build({
        'type': 'DINOv3', 'arch': SIZES, 'out_indices': (0, 1, 2, 3), 'weights': 'random',
        **kwargs})


def full(**kwargs):
    """A backbone with Rein, GSE and Injector."""
    return build(**{'adapter': REIN, 'gse': {}, 'injector': INJECTOR, **kwargs})


def timm_model():
    """Timm's own, with values that make every block count: as built, layer scale is 1e-5."""
    model = timm().create_model(
        'vit_small_patch16_dinov3', pretrained=False, num_classes=0, **SIZES)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval()


# ---------------------------------------------------------------------------------- without timm

def test_without_timm_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'crossearth\[backbones\]'"):
        MODELS.build({'type': 'DINOv3'})


def test_a_torchvision_of_another_torch_is_named(monkeypatch, tmp_path):
    (tmp_path / 'timm.py').write_text("raise RuntimeError('operator torchvision::nms')")
    monkeypatch.delitem(sys.modules, 'timm', raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependencyError, match=r'torchvision::nms.*belongs to torch \d'):
        MODELS.build({'type': 'DINOv3'})


def test_a_timm_without_dinov3_is_named(monkeypatch):
    old = SimpleNamespace(__version__='1.0.19', is_model=lambda name: False)
    monkeypatch.setitem(sys.modules, 'timm', old)
    with pytest.raises(MissingDependencyError, match=r'timm 1\.0\.19.*timm>=1\.0\.23'):
        MODELS.build({'type': 'DINOv3'})


def test_models_import_without_timm_and_torchvision():
    code = ("import sys; sys.modules['timm'] = sys.modules['torchvision'] = None; "
            "from crossearth.models.backbones import DINOv3")
    subprocess.run([sys.executable, '-c', code], check=True, timeout=120)


def test_unknown_arch():
    with pytest.raises(ConfigError, match=r"backbone.arch='g' is unknown.*\['b', 'l', 's'\]"):
        MODELS.build({'type': 'DINOv3', 'arch': 'g'})


# ------------------------------------------------------------------------------ parity with timm

@pytest.mark.parametrize('size', [(64, 64), (48, 96), (160, 32)])
def test_features_are_those_of_timm(size):
    theirs = timm_model()
    ours = build().eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = theirs.forward_intermediates(x, [0, 1, 2, 3], intermediates_only=True)
        features = ours(x)
    for feature, patch_map, scale in zip(features, expected, (4, 2, 1, 0.5), strict=True):
        patch_map = F.interpolate(patch_map, scale_factor=scale, mode='bilinear')
        torch.testing.assert_close(feature, patch_map, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(expected[2], expected[3], atol=0.1)  # the blocks do something


@pytest.mark.parametrize(('arch', 'millions'), [('s', 21.6), ('b', 85.6), ('l', 303.1)])
def test_published_parameter_counts(arch, millions):
    with torch.device('meta'):
        model = build(arch=arch)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == pytest.approx(millions * 1e6, abs=0.06e6)


# ---------------------------------------------------------------------------------------- files

def test_files_of_timm_load_as_they_are(tmp_path):
    theirs = timm_model()
    save_file(theirs.state_dict(), tmp_path / 'model.safetensors')
    ours = full(weights=None)
    report = load_backbone(ours, tmp_path / 'model.safetensors')
    assert ours.weights_loaded
    assert report.matched == report.total == len(theirs.state_dict())
    assert report.unexpected == ()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.get_parameter(name), tensor), name


@pytest.mark.parametrize('lacks', ['reg_token', 'blocks.2.gamma_1'])
def test_incomplete_files_are_refused(tmp_path, lacks):
    state = timm_model().state_dict()
    del state[lacks]
    save_file(state, tmp_path / 'model.safetensors')
    with pytest.raises(CheckpointError, match=lacks):
        load_backbone(build(weights=None), tmp_path / 'model.safetensors')


def test_files_of_dinov2_are_refused(tmp_path):
    dinov2 = build(type='DINOv2', img_size=64, num_registers=4)
    save_file(dinov2.state_dict(), tmp_path / 'dinov2.safetensors')
    with pytest.raises(CheckpointError, match='reg_token'):
        load_backbone(build(weights=None), tmp_path / 'dinov2.safetensors')


def test_random_weights_are_never_silent():
    with pytest.raises(ConfigError, match=r'DINOv3.*no pre-trained weights were loaded'):
        build(weights=None)(torch.randn(1, 3, 32, 32))


# ------------------------------------------------------------------------------------- adapters

@pytest.mark.parametrize('where', ['blocks', 'out_indices', 'outputs'])
def test_adapters_at_zero_scale_change_no_bit(where):
    plain = build().eval()
    plain.load_state_dict(timm_model().state_dict(), strict=True)
    adapted = full(
        adapter={'type': 'Rein', 'num_tokens': 6, 'query_dim': 8, 'scale_init': 0.0},
        injector={**INJECTOR, 'where': where, 'scale_init': 0.0}).eval()
    adapted.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        for a, b in zip(adapted(x)[0], plain(x), strict=True):
            assert torch.equal(a, b)
        adapted.reins.scale.fill_(1.0)
        assert not torch.allclose(adapted(x)[0][2], plain(x)[2])


def test_gradients_reach_the_adapters_only():
    model = full(drop_path=0.5).train()
    assert not any(module.training for module in model.blocks.modules())
    features, queries = model(torch.randn(2, 3, 64, 64))
    (sum(f.square().mean() for f in features) + queries.square().mean()).backward()
    frozen = set(model.pretrained_names())
    assert {'cls_token', 'reg_token', 'blocks.3.gamma_2', 'norm.weight'} <= frozen
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (name in frozen), name


def test_class_and_register_tokens_are_never_adapted():
    model = full(injector={**INJECTOR, 'scale_init': 1.0}).eval()
    model.reins.scale.data.fill_(1.0)
    received, gave = [], []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda _, args: received.append(args[0]))
        block.register_forward_hook(lambda _, args, out: gave.append(out))
    with torch.no_grad():
        model(torch.randn(1, 3, 64, 64))
    for out, following in zip(gave[:-1], received[1:], strict=True):
        assert torch.equal(out[:, :5], following[:, :5])  # class token and 4 registers
        assert not torch.isclose(out[:, 5:], following[:, 5:]).all(-1).any()


@pytest.mark.parametrize('size', [(32, 96), (50, 33), (16, 16)])
def test_any_height_and_width(size):
    with torch.no_grad():
        features, queries = full().eval()(torch.randn(1, 3, *size))
    for feature, stride in zip(features, (4, 8, 16), strict=False):
        assert feature.shape == (1, 32, -(-size[0] // stride), -(-size[1] // stride))
    assert queries.shape == (6, 8)


def test_checkpointing_changes_no_gradient():
    x = torch.randn(1, 3, 48, 64)
    grads = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = full(checkpointing=checkpointing).train()
        sum(f.square().mean() for f in model(x)[0]).backward()
        grads.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name])


def test_unfrozen_backbone_trains_all_but_the_unused_norm():
    model = build(frozen=False, drop_path=0.1).train()
    assert model.blocks[0].training
    sum(f.mean() for f in model(torch.randn(1, 3, 64, 64))).backward()
    without = {n for n, p in model.named_parameters() if p.grad is None}
    assert without == {'norm.weight', 'norm.bias'}


# -------------------------------------------------------------------------------------- configs

def test_one_config_line_trains_the_whole_method_on_it(tiny_config, tmp_path):
    timm()
    cfg = load_config(tiny_config, {'model.backbone.type': 'DINOv3'})
    cfg.work_dir = str(tmp_path / 'run')
    runner = build_runner(cfg)
    model = runner.model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    runner.train()
    assert runner.iter == 2
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert not changed & model.frozen_names()
    assert {'backbone.reins.scale', 'backbone.injector.gamma'} <= changed
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert not model.frozen_names() & model.state_dict().keys()


@pytest.mark.parametrize('size', ['s', 'b', 'l', 'l-sat'])
@pytest.mark.parametrize('method', ['crossearth', 'rein'])
def test_base_models(size, method):
    timm()
    cfg = load_config(MODEL_CONFIGS / f'{method}_dinov3-{size}.py')
    cfg.model.decode_head.num_classes, cfg.crop_size = 6, (512, 512)
    with torch.device('meta'):
        model = MODELS.build(complete_config(cfg).model)
    backbone = model.backbone
    assert type(backbone).__name__ == 'DINOv3'
    assert backbone.weights in SOURCES
    assert set(cfg.model.decode_head.in_channels) == {backbone.embed_dim}
    assert (backbone.reins.embed_dim, backbone.reins.depth) == (backbone.embed_dim, backbone.depth)
    assert backbone.out_indices[-1] == backbone.depth - 1
    assert (backbone.gse is not None) == (method == 'crossearth')


@pytest.mark.parametrize(('config', 'weights'), [
    ('l', 'vit_large_patch16_dinov3.lvd1689m'), ('l-sat', 'vit_large_patch16_dinov3.sat493m')])
def test_normalisation_is_the_one_of_the_weights(config, weights):
    published = timm().get_pretrained_cfg(weights)
    cfg = load_config(MODEL_CONFIGS / f'rein_dinov3-{config}.py').model
    assert cfg.backbone.weights.split('_')[-1] == weights.split('.')[-1]
    for key in ('mean', 'std'):
        expected = [255 * value for value in getattr(published, key)]
        assert cfg.data_preprocessor[key] == pytest.approx(expected, abs=1e-3)
