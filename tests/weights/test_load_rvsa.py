# SPDX-License-Identifier: Apache-2.0
"""Weights for RVSA: MTP's files, plain vision transformers and DINOv2, and its own checkpoints."""

import pytest
import torch
import torch.nn.functional as F
from made_weights import TINY, dinov2, rvsa_state

from crossearth.errors import CheckpointError
from crossearth.models.backbones import RVSA
from crossearth.registry import MODELS
from crossearth.weights import SOURCES, load_backbone, recognise
from crossearth.weights.checkpoints import load_segmentor

ARCH = {**TINY, 'interval': 2}


def rvsa(**kwargs):
    return RVSA(**{'arch': ARCH, 'img_size': 64, 'out_indices': (0, 1, 2, 3), **kwargs})


@pytest.fixture
def load(tmp_path):
    """Load a state into a backbone through a file."""
    def load(state, vit=None):
        torch.save(state, tmp_path / 'x.pth')
        vit = vit or rvsa()
        return vit, load_backbone(vit, tmp_path / 'x.pth')
    return load


@pytest.mark.parametrize('wrap', [
    dict, lambda s: {'state_dict': s}, lambda s: {'model': s},
    lambda s: {f'module.encoder.{name}': t for name, t in s.items()},
    lambda s: {'state_dict': {f'encoder.{name}': t for name, t in s.items()}}])
def test_published_layout_fills_everything(load, wrap):
    state = rvsa_state()
    vit, report = load(wrap(state))
    assert (report.missing, report.unexpected) == ((), ())
    assert report.matched == len(state) - 2  # the index of positions in windows is computed
    for name in ('fpn1.3.weight', 'fpn1.1.ln.bias', 'blocks.2.attn.sampling_angles.2.weight',
                 'blocks.0.attn.relative_position_bias_table', 'blocks.3.mlp.fc2.bias'):
        assert torch.equal(vit.state_dict()[name], state[name]), name
    assert len(vit(torch.zeros(1, 3, 64, 64))) == 4
    assert report.notes == ('positions resized from 14 x 14 to 4 x 4',
                            'relative positions resized from 27 to 7')


def test_positions_are_resized_and_the_class_slot_is_dropped(load):
    state = rvsa_state(class_token=True)
    vit, report = load(state, rvsa(img_size=(64, 112)))
    patches = state['pos_embed'][:, 1:].mT.unflatten(-1, (14, 14))
    expected = F.interpolate(patches, (4, 7), mode='bicubic').flatten(2).mT
    torch.testing.assert_close(vit.pos_embed.data, expected)
    table = state['blocks.1.attn.full_attn_rel_pos_w']
    torch.testing.assert_close(
        vit.blocks[1].attn.full_attn_rel_pos_w.data,
        F.interpolate(table[None, None], (13, 8), mode='bicubic')[0, 0])
    assert report.unexpected == ('cls_token',)
    assert 'class token left out' in report.notes


@pytest.mark.parametrize('scaled', [False, True])
def test_dinov2_and_plain_transformers_start_it(load, scaled):
    source = dinov2(weights='random', img_size=518, patch_size=14)
    state = source.state_dict()
    for name in [name for name in state if name.endswith('gamma')]:
        state[name] = torch.rand(16) + 0.5 if scaled else torch.ones(16)
    source.load_state_dict(state)
    # a masked autoencoder has no layer scale
    vit, report = load({n: t for n, t in state.items() if scaled or not n.endswith('gamma')})
    assert report.missing == ()
    notes = ('patch kernel 14 -> 16 px', 'positions resized from 37 x 37 to 4 x 4',
             'class token left out', 'sampling of windows and relative positions start at zero',
             'fpn1 and fpn2 start at random')
    assert {*notes} <= {*report.notes}
    x = torch.randn(2, 16, 16)
    with torch.no_grad():  # the second block attends to the whole grid, as all of DINOv2's do
        torch.testing.assert_close(
            vit.run_block(1, x, (4, 4)), source.blocks[1](x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(('lacking', 'message'), [
    ('blocks.1.mlp.fc1.weight', r'missing blocks\.1\.mlp\.fc1\.weight'),
    ('blocks.2.attn.sampling_scales.2.bias', r'missing blocks\.2\.attn\.sampling_scales'),
    ('pos_embed', 'missing pos_embed')])
def test_anything_else_that_is_missing_is_refused(load, lacking, message):
    state = rvsa_state()
    del state[lacking]
    with pytest.raises(CheckpointError, match=message):
        load(state)


def test_a_layer_scale_of_another_size_is_refused(load):
    state = {**dinov2().state_dict(), 'blocks.1.ls2.gamma': torch.ones(5)}
    with pytest.raises(CheckpointError, match='contradict each other'):
        load(state)


def test_another_size_is_refused(load):
    with pytest.raises(CheckpointError, match='another architecture'):
        load(rvsa_state(dim=32))


@pytest.mark.parametrize(('size', 'dim', 'depth'), [('b', 768, 12), ('l', 1024, 24)])
def test_known_files_are_what_recognition_finds(size, dim, depth):
    state = {'patch_embed.proj.weight': torch.empty(dim, 3, 16, 16, device='meta'),
             'patch_embed.proj.bias': torch.empty(dim, device='meta'),
             f'blocks.{depth - 1}.attn.full_attn_rel_pos_h': torch.empty(55, 64, device='meta')}
    found, source = recognise(state), SOURCES[f'mtp_vit_{size}_rvsa']
    assert (found.kind, found.signature) == (source.kind, source.signature)
    with torch.device('meta'):
        vit = RVSA(arch=size, img_size=448, out_indices=(0, 1, 2, 3))
    assert 4e-6 * sum(p.numel() for p in vit.parameters()) == pytest.approx(source.size_mb, abs=0.2)


@pytest.mark.parametrize('frozen', [False, True])
def test_checkpoints_come_back_with_their_pyramid(tmp_path, frozen):
    torch.save(rvsa_state(), tmp_path / 'mtp.pth')

    def build():
        return MODELS.build({
            'type': 'PEFTEncoderDecoder',
            'data_preprocessor': {'type': 'SegDataPreProcessor', 'size': (64, 64)},
            'backbone': {'type': 'RVSA', 'arch': ARCH, 'img_size': 64, 'frozen': frozen,
                         'out_indices': (0, 1, 2, 3), 'weights': str(tmp_path / 'mtp.pth')},
            'decode_head': {'type': 'LinearHead', 'in_channels': [16] * 4, 'num_classes': 3}})

    model = build()
    load_backbone(model.backbone, tmp_path / 'mtp.pth')
    torch.nn.init.normal_(model.backbone.fpn1[0].weight)  # trained
    state = model.eval().state_dict()
    torch.save({'state_dict': state}, tmp_path / 'iter_2.pth')
    other = build().eval()
    loaded = load_segmentor(other, tmp_path / 'iter_2.pth')
    assert loaded.has_backbone is not frozen
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(other.inference(image), model.inference(image))
    del state['backbone.fpn2.0.bias']
    torch.save({'state_dict': state}, tmp_path / 'iter_2.pth')
    with pytest.raises(CheckpointError, match=r'backbone\.fpn2\.0\.bias is missing'):
        load_segmentor(other, tmp_path / 'iter_2.pth')
