# SPDX-License-Identifier: Apache-2.0
"""DINOv2 with adapters: published tensors, conversion of official files, freezing, sizes."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from crossearth.engine.complete import complete_config
from crossearth.engine.config import load_config
from crossearth.errors import ConfigError
from crossearth.registry import MODELS
from crossearth.weights import SOURCES

MODEL_CONFIGS = Path(__file__).resolve().parents[3] / 'configs' / '_base_' / 'models'
TINY = {'embed_dim': 32, 'depth': 4, 'num_heads': 2}


def build(**kwargs):
    defaults = {
        'type': 'DINOv2', 'arch': TINY, 'img_size': 64, 'out_indices': (0, 1, 2, 3),
        'weights': 'random',
        'adapter': {'type': 'LoRARein', 'num_tokens': 6, 'rank': 2, 'query_dim': 8},
    }
    return MODELS.build({**defaults, **kwargs})


def full(**kwargs):
    """A backbone with GSE and Injector."""
    return build(**{'gse': {}, 'injector': {'dim': 8, 'num_heads': 2}, **kwargs})


def test_golden_features_and_queries(golden):
    config = json.loads(str(golden['config']))
    model = MODELS.build({
        'type': 'DINOv2', 'img_size': config['img'], 'out_indices': config['out'],
        'arch': {
            'embed_dim': config['embed'], 'depth': config['depth'], 'num_heads': config['heads']},
        'adapter': {'type': 'LoRARein', 'num_tokens': config['tokens'], 'rank': config['lora'],
                    'query_dim': config['feat']},
    })
    weights = {key.removeprefix('w/backbone.'): torch.from_numpy(value)
               for key, value in golden.items() if key.startswith('w/backbone.')}
    model.load_state_dict(weights, strict=True)
    x = torch.from_numpy(golden['x'])[..., :64, :64]
    with torch.no_grad():
        features, queries = model.eval()(x)
    expected = [golden[f'feat{i}'] for i in range(4)] + [golden['query']]
    for ours, theirs in zip([*features, queries], expected, strict=True):
        theirs = torch.from_numpy(theirs)
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= 1e-4 * theirs.abs().max()


@pytest.mark.parametrize(
    ('arch', 'millions'), [('s', 22.06), ('b', 86.58), ('l', 304.37), ('g', 1136.48)])
@pytest.mark.parametrize('registers', [0, 4])
def test_official_parameter_counts(arch, millions, registers):
    with torch.device('meta'):
        model = MODELS.build({
            'type': 'DINOv2', 'arch': arch, 'img_size': 518, 'patch_size': 14,
            'out_indices': (0, 1, 2, 3), 'num_registers': registers})
    # the official files also hold a mask token of one embedding, which we do not build
    count = sum(p.numel() for p in model.parameters()) + model.embed_dim
    assert count == pytest.approx(millions * 1e6, abs=6e3 + 4 * registers * model.embed_dim)


@pytest.mark.parametrize(('registers', 'side'), [(0, 32), (0, 64), (4, 32)])
def test_official_14_px_file_is_converted_while_loading(registers, side):
    official = build(adapter=None, patch_size=14, img_size=518, num_registers=registers)
    state = official.state_dict()
    state['mask_token'] = torch.zeros(1, 32)
    model = build(adapter=None, img_size=16 * side, weights=None, num_registers=registers)
    model.load_state_dict(state, strict=True)
    assert model.weights_loaded
    kernel = F.interpolate(state['patch_embed.proj.weight'], (16, 16), mode='bicubic')
    torch.testing.assert_close(model.patch_embed.proj.weight, kernel)
    assert model.pos_embed.shape == (1, 1 + side * side, 32)
    torch.testing.assert_close(model.pos_embed[:, 0], state['pos_embed'][:, 0])
    grid = state['pos_embed'][:, 1:].reshape(1, 37, 37, 32).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (side, side), mode='bicubic', antialias=registers > 0)
    torch.testing.assert_close(model.pos_embed[:, 1:], grid.flatten(2).mT)


def test_frozen_means_eval_and_no_gradient():
    model = full(drop_path=0.5).train()
    assert model.training
    assert model.reins.training
    assert not any(m.training for m in model.blocks.modules())
    features, queries = model(torch.randn(2, 3, 64, 64))
    (sum(f.mean() for f in features) + queries.mean()).backward()
    frozen = set(model.pretrained_names())
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (name in frozen), name


def test_unfrozen_backbone_trains_all_but_the_unused_norm():
    model = build(frozen=False, adapter=None).train()
    assert model.blocks[0].training
    sum(f.mean() for f in model(torch.randn(1, 3, 64, 64))).backward()
    without = {n for n, p in model.named_parameters() if p.grad is None}
    assert without == {'norm.weight', 'norm.bias'}


@pytest.mark.parametrize('size', [(64, 64), (32, 96), (50, 33), (16, 16), (5, 70)])
def test_any_height_and_width(size):
    model = full().eval()
    with torch.no_grad():
        features, queries = model(torch.randn(1, 3, *size))
    grid = [-(-side // 16) for side in size]
    for feature, stride in zip(features, (4, 8, 16), strict=False):
        assert feature.shape == (1, 32, -(-size[0] // stride), -(-size[1] // stride))
    assert features[3].shape[-2:] == tuple(max(1, side // 2) for side in grid)
    assert queries.shape == (6, 8)


def test_padding_is_zeros_at_the_bottom_and_right():
    model = full().eval()
    x = torch.randn(1, 3, 40, 50)
    with torch.no_grad():
        cropped, _ = model(x)
        whole, _ = model(F.pad(x, (0, 14, 0, 8)))
    torch.testing.assert_close(cropped[0], whole[0][..., :10, :13])


def test_injector_at_zero_and_switched_off_equal_rein_bit_for_bit():
    rein = build().eval()
    crossearth = full(injector={'dim': 8, 'num_heads': 2, 'scale_init': 0.0}).eval()
    crossearth.load_state_dict(rein.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, _ = rein(x)
        at_zero, _ = crossearth(x)
        crossearth.injector.gamma.fill_(1.0)
        off, _ = crossearth(x, geospatial=False)
        on, _ = crossearth(x)
    for a, b, c, d in zip(expected, at_zero, off, on, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
        assert not torch.allclose(a, d)


def test_tokens_that_are_not_linked_leave_the_maps_and_give_no_queries():
    adapter = {'type': 'LoRARein', 'num_tokens': 6, 'rank': 2, 'query_dim': 8}
    linked, alone = build(), build(adapter={**adapter, 'link_token_to_query': False})
    alone.load_state_dict(linked.state_dict(), strict=False)
    x = torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        maps, queries = linked.eval()(x)
        for a, b in zip(maps, alone.eval()(x), strict=True):
            assert torch.equal(a, b)
    assert queries.shape == (6, 8)


def test_rein_at_scale_zero_equals_plain_dinov2():
    rein = build(adapter={'type': 'Rein', 'num_tokens': 6, 'query_dim': 8, 'scale_init': 0.0})
    plain = build(adapter=None)
    plain.load_state_dict(
        {k: v for k, v in rein.state_dict().items() if not k.startswith('reins')}, strict=True)
    x = torch.randn(1, 3, 48, 64)
    with torch.no_grad():
        for a, b in zip(rein(x)[0], plain(x), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize('where', ['blocks', 'out_indices', 'outputs'])
def test_where_the_injector_acts(where):
    model = full(injector={'dim': 8, 'num_heads': 2, 'where': where, 'scale_init': 1.0})
    assert model.injector.gamma.shape == (4, 32)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        plain, _ = model(x, geospatial=False)
        injected, _ = model(x)
        geo = model.gse(x)
        patches = plain[2].flatten(2).mT
        outputs_only = model.injector(patches, geo, 2).mT.unflatten(2, (4, 4))
    assert not torch.allclose(plain[0], injected[0])
    # on the outputs only, the third feature equals one injection into the plain third feature
    assert torch.allclose(injected[2], outputs_only, atol=1e-5) == (where == 'outputs')


def test_geospatial_off_at_test_is_on_in_training():
    model = full(geospatial_at_test=False, injector={'dim': 8, 'num_heads': 2, 'scale_init': 1.0})
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        off = model.eval()(x, geospatial=False)[0][3]
        assert torch.equal(model.eval()(x)[0][3], off)
        assert not torch.allclose(model.train()(x)[0][3], off)


def test_checkpointing_changes_no_gradient():
    x = torch.randn(1, 3, 64, 64)
    grads = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = full(checkpointing=checkpointing).train()
        sum(f.square().mean() for f in model(x)[0]).backward()
        grads.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name])


def test_checkpointing_keeps_of_a_layer_little_but_its_input():
    def kept(depth, checkpointing):
        """Bytes that the backward pass waits for, parameters left out."""
        model = full(arch={**TINY, 'depth': depth}, checkpointing=checkpointing).train()
        known = {p.data_ptr() for p in model.parameters()}
        sizes = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in known:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            features, _ = model(torch.randn(1, 3, 64, 64))
        del features
        return sum(sizes.values())

    tokens = (1 + 16) * 32 * 4  # bytes of all tokens of one layer
    plain, checkpointed = ((kept(8, choice) - kept(4, choice)) / 4 for choice in (False, True))
    assert tokens <= checkpointed <= 1.5 * tokens
    assert plain > 10 * tokens


def test_random_weights_are_never_silent():
    model = build(weights=None)
    with pytest.raises(ConfigError, match=r"no pre-trained weights were loaded.*weights='random'"):
        model(torch.randn(1, 3, 64, 64))


@pytest.mark.parametrize(('kwargs', 'match'), [
    ({'arch': 'xl'}, "backbone.arch='xl' is unknown"),
    ({'out_indices': (0, 1, 2, 4)}, r'\[4\] is not a block'),
    ({'gse': {}}, 'only one of them is set'),
    ({'gse': {}, 'injector': {'where': 'everywhere'}}, "where='everywhere' is unknown"),
])
def test_bad_arguments(kwargs, match):
    with pytest.raises(ConfigError, match=match):
        build(**kwargs)


def test_dinov2_offset_moves_the_positions_slightly():
    a, b = build(adapter=None), build(adapter=None, pos_interp='dinov2_offset')
    b.load_state_dict(a.state_dict())
    x = torch.randn(1, 3, 96, 80)
    with torch.no_grad():
        first, second = a(x)[2], b(x)[2]
    assert not torch.equal(first, second)
    assert (first - second).abs().max() < 0.1 * first.abs().max()


@pytest.mark.parametrize('size', [(56, 56), (84, 42)])
def test_registers_give_the_features_of_timm(size):
    timm = pytest.importorskip('timm', reason='timm is an extra (backbones)')
    from timm.models.vision_transformer import checkpoint_filter_fn

    ours = build(adapter=None, patch_size=14, img_size=56, num_registers=4).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(std=0.3)
    theirs = timm.create_model(
        'vit_small_patch14_reg4_dinov2', pretrained=False, num_classes=0, img_size=56,
        dynamic_img_size=True, **TINY).eval()
    # timm's own reading of an official file, whose names and layout are ours
    official = {**ours.state_dict(), 'mask_token': torch.zeros(1, 32)}
    theirs.load_state_dict(checkpoint_filter_fn(official, theirs), strict=True)
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = theirs.forward_intermediates(x, [0, 1, 2, 3], intermediates_only=True)
        features = ours(x)
    for feature, patch_map, scale in zip(features, expected, (4, 2, 1, 0.5), strict=True):
        patch_map = F.interpolate(patch_map, scale_factor=scale, mode='bilinear')
        torch.testing.assert_close(feature, patch_map, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('method', ['crossearth', 'rein'])
def test_base_models_with_registers(method):
    cfg = load_config(MODEL_CONFIGS / f'{method}_dinov2-l-reg4.py')
    cfg.model.decode_head.num_classes, cfg.crop_size = 6, (512, 512)
    with torch.device('meta'):
        model = MODELS.build(complete_config(cfg).model)
    assert model.backbone.num_prefix_tokens == 5
    assert model.backbone.register_tokens.shape == (1, 4, 1024)
    assert model.backbone.weights in SOURCES
