# SPDX-License-Identifier: Apache-2.0
"""What a file is: every publisher's layout, and the same features out of each."""

import re

import pytest
import torch
from made_weights import TINY, as_timm, as_transformers, dinov2, dinov3_state, rvsa_state

from crossearth.errors import CheckpointError
from crossearth.weights import load_backbone, recognise
from crossearth.weights.recognition import part_of

SWIGLU = {**TINY, 'swiglu_dim': 24}


def meta_names(vit):
    return {**vit.state_dict(), 'mask_token': torch.zeros(1, 16)}


@torch.no_grad()
@pytest.mark.parametrize('registers', [0, 4])
@pytest.mark.parametrize('arch', [TINY, SWIGLU], ids=['mlp', 'swiglu'])
@pytest.mark.parametrize('layout', [
    dict, as_timm, as_transformers,
    lambda s: {f'dinov2.{name}': t for name, t in as_transformers(s).items()},
    lambda s: {f'backbone.{name}': t for name, t in s.items()}])
def test_dinov2_gives_the_same_features_whoever_named_it(tmp_path, layout, arch, registers):
    source = dinov2(arch=arch, num_registers=registers, weights='random').eval()
    torch.save({'model': layout(meta_names(source))}, tmp_path / 'x.pth')
    vit = dinov2(arch=arch, num_registers=registers).eval()
    report = load_backbone(vit, tmp_path / 'x.pth')
    assert report.matched == report.total
    assert report.unexpected == ()
    image = torch.randn(1, 3, 64, 64)
    for ours, theirs in zip(vit(image), source(image), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('layout', ['timm', 'meta', 'transformers'])
def test_dinov3_gets_the_names_of_timm(layout):
    theirs, timm = dinov3_state(layout)
    found = recognise(theirs)
    assert found.kind == 'dinov3'
    assert found.parts['backbone'].keys() == timm.keys()
    for name, tensor in found.parts['backbone'].items():
        assert torch.equal(tensor, timm[name]), name


@pytest.mark.parametrize('layout', ['meta', 'transformers'])
def test_biases_that_are_not_zero_are_kept(layout):
    backbone = recognise(dinov3_state(layout, bias=0.5)[0]).parts['backbone']
    assert {name.rpartition('.')[2] for name in backbone if '_bias' in name} == {'q_bias', 'v_bias'}


@torch.no_grad()
@pytest.mark.parametrize('layout', ['timm', 'meta', 'transformers'])
def test_dinov3_fills_the_backbone(tmp_path, layout):
    pytest.importorskip('timm', reason='timm is an extra (backbones)')
    from crossearth.models.backbones import DINOv3

    vit = DINOv3(arch={'embed_dim': 16, 'depth': 4, 'num_heads': 2}, out_indices=(0, 1, 2, 3))
    theirs, timm = dinov3_state(layout, depth=4)
    torch.save(theirs, tmp_path / 'x.pth')
    assert load_backbone(vit, tmp_path / 'x.pth').unexpected == ()
    assert torch.equal(vit.blocks[3].attn.qkv.weight, timm['blocks.3.attn.qkv.weight'])
    assert len(vit(torch.zeros(1, 3, 64, 64))) == 4
    torch.save(dinov3_state('meta', depth=4, bias=0.5)[0], tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match='has biases of queries and values'):
        load_backbone(vit, tmp_path / 'x.pth')


def official(letter, patch=14, registers=0, side=37):
    """Tensors that tell the size of a published DINOv2, without the memory for them."""
    dim, depth = {'s': (384, 12), 'b': (768, 12), 'l': (1024, 24), 'g': (1536, 40)}[letter]
    state = {
        'cls_token': torch.empty(1, 1, dim, device='meta'),
        'pos_embed': torch.empty(1, 1 + side * side, dim, device='meta'),
        'patch_embed.proj.weight': torch.empty(dim, 3, patch, patch, device='meta'),
        'patch_embed.proj.bias': torch.empty(dim, device='meta'),
        'blocks.0.ls1.gamma': torch.empty(dim, device='meta'),
        f'blocks.{depth - 1}.ls1.gamma': torch.empty(dim, device='meta')}
    if registers:
        state['register_tokens'] = torch.empty(1, registers, dim, device='meta')
    return state


@pytest.mark.parametrize(('state', 'title', 'signature', 'grid'), [
    (official('s'), 'DINOv2 ViT-S/14', 'dinov2_vits14', 37),
    (official('g', registers=4), 'DINOv2 ViT-g/14 with 4 registers', 'dinov2_vitg14_reg4', 37),
    (official('l', patch=16, side=64), 'DINOv2 ViT-L/16, converted to 16 px patches',
     'dinov2_vitl16', 64)])
def test_published_sizes_are_named(state, title, signature, grid):
    found = recognise(state)
    assert (found.kind, found.title, found.signature, found.grid) == (
        'dinov2', title, signature, grid)


@pytest.mark.parametrize('prefix', ['', 'encoder.', 'backbone.'])
def test_mtp_files_are_named(prefix):
    found = recognise({prefix + name: tensor for name, tensor in rvsa_state().items()})
    assert found.kind == 'rvsa'
    assert found.title.startswith('RVSA (MTP) ViT')
    assert found.grid == 14


HEAD = {'decode_head.cls_embed.weight': torch.zeros(6, 8)}
REIN = {'backbone.reins.scale': torch.tensor(1.0)}


@pytest.mark.parametrize(('state', 'title'), [
    (HEAD, r'segmentor checkpoint without backbone \(head\)'),
    ({**HEAD, **REIN}, r'Rein or published CrossEarth .* without backbone \(adapters and head\)'),
    ({**HEAD, **REIN, 'mim_head.a': torch.zeros(1)}, r'^CrossEarth checkpoint without backbone'),
    ({**HEAD, **REIN, 'task_head.a': torch.zeros(1)}, "authors' CrossEarth training"),
    ({**HEAD, **{f'backbone.{n}': t for n, t in official('l', 16).items()}},
     r'with DINOv2 ViT-L/16')])
def test_checkpoints_are_named(state, title):
    found = recognise(state)
    assert found.kind == 'checkpoint'
    assert found.num_classes == 5
    assert re.search(title, found.title)


def test_parts_of_a_checkpoint():
    names = {
        'backbone.blocks.0.norm1.weight': 'backbone', 'backbone.reins.scale': 'adapters',
        'backbone.injector.gamma': 'adapters', 'decode_head.level_embed.weight': 'head',
        'mask_token': 'mim', 'task_head.aspp.0.weight': 'mim', 'augmentor.ghiasi.x': 'style',
        'ema.decay': 'other'}
    assert {name: part_of(name) for name in names} == names


def test_style_networks_and_strangers():
    assert recognise({'Conv2d_1a_3x3.conv.weight': torch.zeros(1)}).kind == 'style'
    found = recognise({'layer1.0.conv1.weight': torch.zeros(1)})
    assert (found.kind, [*found.parts]) == ('unknown', ['other'])
    mae = {name: t for name, t in official('b').items() if 'ls1' not in name}
    assert recognise(mae).kind == 'vit'


def test_names_without_their_shapes():
    state = {**as_transformers(meta_names(dinov2())),
             'encoder.layer.0.attention.attention.query.bias': torch.tensor(1.0)}
    state['encoder.layer.0.attention.attention.key.bias'] = torch.tensor(1.0)
    state['encoder.layer.0.attention.attention.value.bias'] = torch.tensor(1.0)
    with pytest.raises(CheckpointError, match='have shapes that none has'):
        recognise(state)
