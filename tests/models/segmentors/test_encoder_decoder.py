# SPDX-License-Identifier: Apache-2.0
"""The segmentor: published scores, sliding windows, and what its checkpoints hold."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_samples import samples
from mmengine.runner.checkpoint import get_state_dict

from crossearth.errors import ConfigError
from crossearth.models.segmentors import sliding_windows
from crossearth.models.segmentors.encoder_decoder import average_windows
from crossearth.registry import MODELS

HEAD = {
    'type': 'ReinMask2FormerHead', 'in_channels': (32,) * 4, 'num_classes': 5, 'feat_channels': 16,
    'num_points': 64,
    'pixel_decoder': {
        'num_layers': 1, 'num_heads': 2, 'num_points': 2, 'ffn_channels': 16, 'num_groups': 4},
    'transformer_decoder': {'num_layers': 2, 'num_heads': 2, 'ffn_channels': 16},
}


def build(test_cfg=None, head=(), auxiliary=None, compile=False, **backbone):
    return MODELS.build({
        'type': 'PEFTEncoderDecoder', 'test_cfg': test_cfg, 'auxiliary_head': auxiliary,
        'compile': compile,
        'data_preprocessor': {'type': 'SegDataPreProcessor', 'size': (64, 64)},
        'backbone': {
            'type': 'DINOv2', 'arch': {'embed_dim': 32, 'depth': 4, 'num_heads': 2}, 'img_size': 64,
            'out_indices': (0, 1, 2, 3), 'weights': 'random',
            'adapter': {'type': 'LoRARein', 'num_tokens': 6, 'rank': 2, 'query_dim': 16},
            **backbone},
        'decode_head': {**HEAD, **dict(head)}})


def published(golden, test_cfg):
    c = json.loads(str(golden['config']))
    model = build(
        test_cfg=test_cfg, weights=None, img_size=c['img'], out_indices=c['out'],
        arch={'embed_dim': c['embed'], 'depth': c['depth'], 'num_heads': c['heads']},
        adapter={'type': 'LoRARein', 'num_tokens': c['tokens'], 'rank': c['lora'],
                 'query_dim': c['feat']},
        head={
            'in_channels': (c['embed'],) * 4, 'num_classes': c['nc'], 'feat_channels': c['feat'],
            'pixel_decoder': {
                'num_layers': c['pixel_layers'], 'num_heads': c['pixel_heads'],
                'ffn_channels': c['ffn_pixel'], 'num_groups': c['gn_groups']},
            'transformer_decoder': {
                'num_layers': c['decoder_layers'], 'num_heads': c['decoder_heads'],
                'ffn_channels': c['ffn_decoder']}})
    state = {k[2:]: torch.from_numpy(v) for k, v in golden.items()
             if k.startswith('w/') and not k.startswith('w/data_preprocessor')}
    model.load_state_dict(state, strict=True)
    return model.eval()


@pytest.mark.parametrize(('name', 'test_cfg'), [
    ('whole', {'mode': 'whole'}),
    ('slide', {'mode': 'slide', 'crop_size': (64, 64), 'stride': (42, 42)})])
def test_golden_scores_of_a_published_checkpoint(golden, name, test_cfg):
    model = published(golden, test_cfg)
    x = torch.from_numpy(golden['x'])
    with torch.no_grad():
        scores = model.inference(x if name == 'slide' else x[..., :64, :64])
    expected = torch.from_numpy(golden[name])
    assert scores.shape == expected.shape
    assert (scores - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_losses_are_named_and_reach_only_the_trained_part():
    model = build(gse={}, injector={'dim': 8, 'num_heads': 2}).train()
    losses = model(torch.randn(2, 3, 64, 64), samples(2, (64, 64)), mode='loss')
    names = {'decode.loss_cls', 'decode.loss_mask', 'decode.loss_dice', 'decode.d0.loss_cls'}
    assert names <= losses.keys()
    sum(losses.values()).backward()
    frozen = model.frozen_names()
    assert len(frozen) > 20
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (name in frozen), name


AUXILIARY = {
    'type': 'FCNHead', 'in_channels': 32, 'in_index': 2, 'channels': 8, 'num_classes': 5,
    'num_convs': 1, 'norm_cfg': {'type': 'BN'}}


@pytest.mark.parametrize(('auxiliary', 'prefixes'), [
    (None, set()), (AUXILIARY, {'aux'}), ([AUXILIARY, {**AUXILIARY, 'in_index': 3}],
                                          {'aux_0', 'aux_1'})])
def test_auxiliary_heads_get_the_maps_and_only_help_training(auxiliary, prefixes):
    model = build(auxiliary=auxiliary).train()
    image, labels = torch.randn(2, 3, 64, 64), samples(2, (64, 64))
    losses = model(image, labels, mode='loss')
    assert {name.split('.')[0] for name in losses} == {'decode'} | prefixes
    model.eval()
    maps, _ = model.extract_feat(image)  # the pair of maps and queries
    for prefix in prefixes:
        heads = model.auxiliary_head
        head = heads if prefix == 'aux' else heads[int(prefix[-1])]
        expected = head.loss(maps, labels, {})['loss_ce']
        torch.testing.assert_close(
            model.loss(image, labels)[f'{prefix}.loss_ce'], expected)
    model.auxiliary_head = None  # at test it is not asked
    with torch.no_grad():
        assert model(image, labels, mode='predict')[0].pred_sem_seg.data.shape == (1, 64, 64)


def test_a_model_without_auxiliary_head_loads_what_one_with_it_has_trained():
    state = build(auxiliary=AUXILIARY).state_dict()
    assert any(name.startswith('auxiliary_head.') for name in state)
    build().load_state_dict(state, strict=True)
    with pytest.raises(RuntimeError, match=r'Missing key.*auxiliary_head\.conv_seg'):
        build(auxiliary=AUXILIARY).load_state_dict(build().state_dict(), strict=True)


def test_checkpoint_holds_the_trained_part_only_and_loads_strictly():
    model = build(gse={}, injector={'dim': 8, 'num_heads': 2})
    for state in (model.state_dict(), get_state_dict(model)):
        parts = {name.split('.')[1] for name in state if name.startswith('backbone.')}
        assert parts == {'reins', 'gse', 'injector'}
    other = build(gse={}, injector={'dim': 8, 'num_heads': 2})
    frozen = other.backbone.pos_embed.clone()
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(other.backbone.pos_embed, frozen)
    assert torch.equal(other.backbone.reins.scale, model.backbone.reins.scale)


def test_state_dict_of_a_wrapped_model_too():
    wrapped = torch.nn.ModuleDict({'module': build()})
    names = wrapped.state_dict()
    assert 'module.backbone.reins.scale' in names
    assert not any('blocks' in name for name in names)


def test_backbone_that_was_never_filled_is_missing():
    with pytest.raises(RuntimeError, match=r'Missing key.*backbone\.cls_token'):
        build(weights=None).load_state_dict(build().state_dict(), strict=True)


def test_unfrozen_backbone_is_saved():
    assert 'backbone.blocks.0.attn.qkv.weight' in build(frozen=False).state_dict()


def test_predictions_have_the_original_size_and_no_scores():
    model = build().eval()
    metas = samples(2, (50, 70))
    with torch.no_grad():
        out = model(torch.randn(2, 3, 32, 48), metas, mode='predict')
    for sample in out:
        assert sample.pred_sem_seg.data.shape == (1, 50, 70)
        assert 'seg_logits' not in sample
    model.test_cfg['keep_scores'] = True
    with torch.no_grad():
        out = model(torch.randn(1, 3, 32, 48), samples(1, (50, 70)), mode='predict')
    assert out[0].seg_logits.data.shape == (5, 50, 70)


@pytest.mark.parametrize('size', [(64, 64), (40, 100), (130, 64), (65, 191)])
def test_sliding_over_constant_scores_is_constant(size):
    model = build(test_cfg={'mode': 'slide', 'crop_size': (64, 64), 'stride': (42, 42)}).eval()
    windows = []

    def constant(inputs):
        windows.append(inputs.shape[-2:])
        return torch.arange(5.0).view(1, 5, 1, 1).expand(len(inputs), 5, *inputs.shape[-2:])

    model.encode_decode = constant
    scores = model.inference(torch.zeros(2, 3, *size))
    torch.testing.assert_close(scores, torch.arange(5.0).view(1, 5, 1, 1).expand(2, 5, *size))
    assert set(windows) == {(min(64, size[0]), min(64, size[1]))}


@settings(deadline=None, max_examples=10)
@given(height=st.integers(32, 150), width=st.integers(32, 150), batch=st.integers(2, 20))
def test_any_number_of_windows_at_a_time_gives_the_same_scores(height, width, batch):
    torch.manual_seed(0)
    image, results = torch.randn(2, 3, height, width), []
    for number in (1, batch):
        torch.manual_seed(1)
        test_cfg = {'mode': 'slide', 'crop_size': (64, 48), 'stride': (42, 32)}
        model = build(test_cfg={**test_cfg, 'window_batch': number}).eval()
        with torch.no_grad():
            results.append(model.inference(image))
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)


def test_no_more_than_the_number_of_windows_are_scored_at_a_time():
    windows, seen = sliding_windows((10, 10), (4, 4), (3, 3)), []

    def score(images):
        seen.append(len(images))
        return images[:, :1]

    image = torch.rand(2, 3, 10, 10)
    found = average_windows(score, image, 1, windows, batch=4)
    assert seen == [2 * 4, 2 * 4, 2 * 1]
    torch.testing.assert_close(found, image[:, :1])


def test_scores_of_half_precision_are_added_in_float32():
    windows = sliding_windows((4, 400), (4, 4), (4, 1))
    found = average_windows(lambda x: x[:, :1] + 1 / 3, torch.ones(1, 3, 4, 400).half(), 1, windows)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.full_like(found, 4 / 3), atol=1e-3, rtol=0)


def test_windows_cover_the_image_and_stay_inside():
    windows = sliding_windows((1500, 1500), (1024, 1024), (683, 683))
    assert [(r.start, c.start) for r, c in windows] == [(0, 0), (0, 476), (476, 0), (476, 476)]
    assert sliding_windows((384, 512), (512, 512), (341, 341)) == [(slice(0, 384), slice(0, 512))]


def test_compiled_backbone_changes_neither_scores_nor_names():
    torch._dynamo.reset()
    runs = []

    def backend(graph, inputs):
        runs.append(graph)
        return graph

    plain, compiled = build().eval(), build(compile={'backend': backend, 'fullgraph': True}).eval()
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    compiled.load_state_dict(plain.state_dict(), strict=True)
    compiled.backbone.load_state_dict(plain.backbone.state_dict(), strict=True)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(compiled.inference(image), plain.inference(image))
    assert len(runs) == 1


@pytest.mark.parametrize(('test_cfg', 'match'), [
    ({'mode': 'tiles'}, "mode='tiles' is unknown"),
    ({'window_batch': 0}, 'window_batch=0 is no number of windows'),
    ({'mode': 'slide'}, 'leaves pixels uncovered'),
    ({'mode': 'slide', 'crop_size': (64, 64), 'stride': (65, 65)}, '1 <= stride <= crop_size')])
def test_bad_test_cfg(test_cfg, match):
    with pytest.raises(ConfigError, match=match):
        build(test_cfg=test_cfg)
