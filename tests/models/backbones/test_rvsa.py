# SPDX-License-Identifier: Apache-2.0
"""RVSA: shapes, the pyramid, what is trained, and adapters on it."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict

from crossearth.errors import ConfigError
from crossearth.models.backbones.rvsa import ARCHITECTURES, RVSA
from crossearth.models.layers.relative_attention import RelativeAttention
from crossearth.models.layers.rotated_window_attention import RotatedWindowAttention
from crossearth.registry import MODELS

TINY = {'embed_dim': 16, 'depth': 4, 'num_heads': 2, 'interval': 2}
REIN = {'type': 'LoRARein', 'num_tokens': 3, 'rank': 2, 'query_dim': 8}


def build(**kwargs):
    return RVSA(**{'arch': TINY, 'img_size': 64, 'out_indices': (0, 1, 2, 3), 'weights': 'random',
                   **kwargs})


@pytest.mark.parametrize(('arch', 'whole_grid'), [
    ('s', [2, 5, 8, 11]), ('b', [2, 5, 8, 11]), ('l', [5, 11, 17, 23])])
def test_architectures(arch, whole_grid):
    with torch.device('meta'):
        vit = RVSA(arch=arch, out_indices=(0, 1, 2, 3), img_size=448)
    assert [i for i, b in enumerate(vit.blocks) if isinstance(b.attn, RelativeAttention)] == (
        whole_grid)
    windows = [b.attn for b in vit.blocks if isinstance(b.attn, RotatedWindowAttention)]
    assert len(windows) + len(whole_grid) == ARCHITECTURES[arch]['depth']
    assert {attn.window for attn in windows} == {7}
    assert vit.blocks[whole_grid[0]].attn.full_attn_rel_pos_h.shape == (55, 64)


@pytest.mark.parametrize('size', [(64, 64), (112, 48), (50, 130), (16, 16)])
def test_any_height_and_width(size):
    maps = build()(torch.randn(2, 3, *size))
    grid = [-(-side // 16) for side in size]
    for feature, stride in zip(maps, (4, 8, 16), strict=False):
        assert feature.shape == (2, 16, -(-size[0] // stride), -(-size[1] // stride))
    assert maps[3].shape[-2:] == tuple(max(1, side // 2) for side in grid)


def test_the_pyramid_is_that_of_deconvolutions():
    vit = build()
    maps = [torch.randn(1, 16, 3, 5) for _ in range(4)]
    first, second, third, fourth = vit.pyramid(maps)
    step = vit.fpn1[0](maps[0])
    mean, var = step.mean(1, keepdim=True), step.var(1, keepdim=True, unbiased=False)
    step = F.gelu((step - mean) / (var + 1e-6).sqrt())
    torch.testing.assert_close(first, vit.fpn1[3](step))
    torch.testing.assert_close(second, vit.fpn2[0](maps[1]))
    assert torch.equal(third, maps[2])
    assert torch.equal(fourth, F.max_pool2d(maps[3], 2))


def test_positions_are_resized_to_another_grid():
    vit = build(img_size=(64, 48))
    assert vit.pos_embed.shape == (1, 12, 16)
    tokens, grid = vit.tokenize(torch.zeros(1, 3, 128, 96))
    assert grid == (8, 6)
    expected = F.interpolate(vit.pos_embed.mT.unflatten(-1, (4, 3)), (8, 6), mode='bicubic')
    torch.testing.assert_close(tokens, vit.patch_embed.proj.bias + expected.flatten(2).mT)


def test_every_parameter_is_trained():
    vit = build().train()
    sum(m.square().mean() for m in vit(torch.randn(1, 3, 128, 128))).backward()
    assert [name for name, p in vit.named_parameters() if p.grad is None] == []
    offsets = vit.blocks[0].attn.sampling_offsets[2].weight
    assert offsets.grad.abs().max() > 0


def test_frozen_spares_the_pyramid_and_the_adapters():
    vit = build(frozen=True, adapter=REIN).train()
    trained = {name.split('.')[0] for name, p in vit.named_parameters() if p.requires_grad}
    assert trained == {'fpn1', 'fpn2', 'reins'}
    assert not vit.blocks.training
    assert vit.fpn1.training
    assert not {name for name in vit.pretrained_names() if name.startswith(('fpn', 'reins'))}


def test_drop_path_acts_in_training_only():
    vit = build(drop_path=0.9).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        first = vit(image)[3]
        assert torch.equal(vit(image)[3], first)
        assert not torch.allclose(vit.train()(image)[3], first)


def test_checkpointing_changes_no_gradient():
    image, grads = torch.randn(1, 3, 64, 64), []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        vit = build(checkpointing=checkpointing).train()
        sum(m.square().mean() for m in vit(image)).backward()
        grads.append([p.grad for p in vit.parameters()])
    for plain, recomputed in zip(*grads, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_rein_gse_and_injector_work_on_it():
    vit = build(adapter=REIN, gse={}, injector={'dim': 8, 'num_heads': 2, 'scale_init': 1.0})
    image = torch.randn(2, 3, 64, 64)
    maps, queries = vit(image)
    off, _ = vit(image, geospatial=False)
    half, _ = vit(image, geospatial=1)
    assert queries.shape == (3, 8)
    for on, without, mixed in zip(maps, off, half, strict=True):
        assert not torch.allclose(on, without)
        torch.testing.assert_close(mixed[:1], on[:1])
        torch.testing.assert_close(mixed[1:], without[1:])


def test_bad_arguments():
    with pytest.raises(ConfigError, match=r"arch='g' is unknown.*num_heads, interval"):
        build(arch='g')


@pytest.mark.parametrize('frozen', [False, True])
def test_checkpoints_hold_what_is_trained(frozen):
    model = MODELS.build(ConfigDict(
        type='PEFTEncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64)),
        backbone=dict(type='RVSA', arch=TINY, img_size=64, out_indices=(0, 1, 2, 3),
                      weights='random', frozen=frozen),
        decode_head=dict(type='LinearHead', in_channels=[16] * 4, num_classes=3)))
    kept = {name.split('.')[1] for name in model.state_dict() if name.startswith('backbone.')}
    assert kept == {'fpn1', 'fpn2', *(() if frozen else ('blocks', 'patch_embed', 'pos_embed'))}


def test_it_is_exported_for_any_batch():
    vit = build(adapter={'type': 'LoRA', 'rank': 2}).eval().requires_grad_(False)
    for name, parameter in vit.named_parameters():
        if 'sampling' in name or 'adapter' in name:
            torch.nn.init.normal_(parameter)
    batch = torch.export.Dim('batch')
    program = torch.export.export(
        vit, (torch.randn(2, 3, 64, 80),), dynamic_shapes=({0: batch},)).module()
    images = torch.randn(3, 3, 64, 80)
    torch.testing.assert_close(program(images), vit(images), atol=1e-4, rtol=1e-4)
