# SPDX-License-Identifier: Apache-2.0
"""LoRA and bottleneck adapters: formulas, an exact start, and names that stay as they are."""

import copy

import pytest
import torch
from made_weights import TINY, dinov2
from mmengine.config import ConfigDict

from crossearth.errors import ConfigError
from crossearth.models.adapters import BottleneckAdapter, LoRA
from crossearth.models.backbones import RVSA
from crossearth.registry import MODELS

LORA = {'type': 'LoRA', 'rank': 2}
ADAPTERS = pytest.mark.parametrize('adapter', [
    LORA, {**LORA, 'projections': 'qkv'}, {'type': 'BottleneckAdapter', 'dim': 4}],
    ids=['qv', 'qkv', 'bottleneck'])
GEO = {'gse': {}, 'injector': {'dim': 8, 'num_heads': 2, 'scale_init': 1.0}}


def rvsa(**kwargs):
    return RVSA(arch={**TINY, 'interval': 2}, img_size=64, out_indices=(0, 1, 2, 3), frozen=True,
                **kwargs)


def dinov3(**kwargs):
    pytest.importorskip('timm', reason='timm is an extra (backbones)')
    return MODELS.build({'type': 'DINOv3', 'arch': TINY, 'out_indices': (0, 1, 2, 3), **kwargs})


@torch.no_grad()
@ADAPTERS
@pytest.mark.parametrize('backbone', [dinov2, dinov3, rvsa])
def test_the_start_is_the_frozen_backbone_bit_for_bit(backbone, adapter):
    plain = backbone(weights='random').eval()
    adapted = backbone(weights='random', adapter=adapter).eval()
    missing, unexpected = adapted.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == []
    assert {name.split('.')[0] for name in missing} == {'adapter'}
    assert adapted.pretrained_names() == plain.pretrained_names()
    image = torch.randn(1, 3, 64, 64)
    before = plain(image)
    for ours, theirs in zip(adapted(image), before, strict=True):
        assert torch.equal(ours, theirs)
    for parameter in adapted.adapter.parameters():
        parameter.normal_()
    changed = adapted(image)
    assert not any(torch.equal(a, b) for a, b in zip(changed, before, strict=True))


def test_lora_equals_its_formula():
    lora = LoRA(embed_dim=6, depth=2, rank=3, alpha=12.0).double()
    torch.nn.init.normal_(lora.up)
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    q, k, v = lora(x, 1).chunk(3, -1)
    for update, part in ((q, 0), (v, 1)):
        matrix = 4 * lora.up[1, part] @ lora.down[1, part]  # alpha / rank = 4
        torch.testing.assert_close(update, x @ matrix.T)
    assert not k.any()
    full = LoRA(embed_dim=6, depth=2, rank=3, projections='qkv')
    torch.nn.init.normal_(full.up)
    assert full(x.float(), 0).chunk(3, -1)[1].any()


def test_bottleneck_equals_its_formula():
    adapter = BottleneckAdapter(embed_dim=6, depth=2, dim=3, scale=0.5).double()
    torch.nn.init.normal_(adapter.layers[1][2].weight)
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    down, up = adapter.layers[1][0], adapter.layers[1][2]
    hidden = (x @ down.weight.T + down.bias).clamp(min=0)
    torch.testing.assert_close(adapter(x, 1), 0.5 * (hidden @ up.weight.T + up.bias))


@torch.no_grad()
def test_each_acts_on_its_module_of_its_block():
    vit = dinov2(weights='random', adapter={'type': 'BottleneckAdapter', 'dim': 4}).eval()
    torch.nn.init.normal_(vit.adapter.layers[2][2].weight)
    x = torch.randn(1, 5, 16)
    for index, block in enumerate(vit.blocks):
        mlp = block.mlp.fc2(torch.nn.functional.gelu(block.mlp.fc1(x)))
        assert torch.equal(block.mlp(x), mlp) == (index != 2)
        torch.testing.assert_close(block.mlp(x), mlp + vit.adapter(x, index))


@ADAPTERS
def test_only_the_adapter_is_trained_and_saved(adapter):
    model = MODELS.build(ConfigDict(
        type='PEFTEncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64)),
        backbone=dict(type='DINOv2', arch=TINY, img_size=64, out_indices=(0, 1, 2, 3),
                      weights='random', adapter=adapter, **GEO),
        decode_head=dict(type='LinearHead', in_channels=[16] * 4, num_classes=3))).train()
    features = model.extract_feat(torch.randn(2, 3, 64, 64))
    assert not isinstance(features, tuple)  # no queries
    sum(m.square().mean() for m in features).backward()
    backbone = model.backbone
    with_gradient = {n.split('.')[0] for n, p in backbone.named_parameters() if p.grad is not None}
    assert with_gradient == {'adapter', 'gse', 'injector'}
    assert {n.split('.')[1] for n in model.state_dict() if n.startswith('backbone.')} == (
        with_gradient)


@ADAPTERS
def test_checkpointing_changes_no_gradient(adapter):
    image, grads = torch.randn(1, 3, 64, 64), []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        vit = dinov2(weights='random', adapter=adapter, checkpointing=checkpointing).train()
        sum(m.square().mean() for m in vit(image)).backward()
        grads.append([p.grad for p in vit.adapter.parameters()])
    assert any(grad.any() for grad in grads[0])
    for plain, recomputed in zip(*grads, strict=True):
        torch.testing.assert_close(plain, recomputed)


@torch.no_grad()
def test_a_copy_has_its_own_adapter():
    vit = dinov2(weights='random', adapter=LORA).eval()
    other = copy.deepcopy(vit)
    torch.nn.init.normal_(other.adapter.up)
    image = torch.randn(1, 3, 64, 64)
    assert not torch.equal(vit(image)[3], other(image)[3])


def test_bad_arguments():
    with pytest.raises(ConfigError, match=r"projections='k' is unknown"):
        dinov2(adapter={**LORA, 'projections': 'k'})
