# SPDX-License-Identifier: Apache-2.0
"""DAFormer's options: what they add to the losses, what they save, and what they need."""

import pytest
import torch
from labelled_samples import samples

from crossearth.engine.runner import load_checkpoint, load_pretrained
from crossearth.errors import ConfigError
from crossearth.models.backbones import MiT, ResNet
from crossearth.registry import MODELS
from crossearth.style.hallucination import js_divergence

BACKBONES = {'MiT': ({'arch': 'b0'}, 256), 'ResNet': ({'depth': 18, 'output_stride': 32}, 512)}
STYLES = {'styles': 2, 'weight': 3.0}


def build(name='MiT', weights='random', head='FCNHead', **options):
    sizes, channels = BACKBONES[name]
    return MODELS.build({
        'type': 'DAFormerSegmentor', 'backbone': {'type': name, 'weights': weights, **sizes},
        'decode_head': {
            'type': head, 'in_channels': channels, 'channels': 8, 'num_classes': 5,
            'dropout_ratio': 0.0, 'norm_cfg': {'type': 'BN'}}, **options})


def batch(size=(64, 64)):
    return torch.randn(2, 3, *size), samples(2, size)


@pytest.fixture
def pretrained(tmp_path):
    """Files of weights of both backbones."""
    paths = {}
    for name, net in (('MiT', MiT('b0', weights='random')), ('ResNet', ResNet(18, 32))):
        paths[name] = str(tmp_path / f'{name}.pth')
        torch.save(net.state_dict(), paths[name])
    return paths


@pytest.mark.parametrize('name', BACKBONES)
def test_without_options_it_is_the_plain_segmentor(name):
    model = build(name).eval()
    plain = MODELS.build({
        'type': 'PEFTEncoderDecoder', 'backbone': {
            'type': name, 'weights': 'random', **BACKBONES[name][0]},
        'decode_head': {
            'type': 'FCNHead', 'in_channels': BACKBONES[name][1], 'channels': 8, 'num_classes': 5,
            'dropout_ratio': 0.0, 'norm_cfg': {'type': 'BN'}}}).eval()
    plain.load_state_dict(model.state_dict(), strict=True)
    images, labels = batch()
    ours, theirs = model.loss(images, labels), plain.loss(images, labels)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


# ------------------------------------------------------------------------------ feature distance

@pytest.mark.parametrize('name', BACKBONES)
def test_distance_is_that_of_the_pretrained_features(name, pretrained):
    model = build(name, pretrained[name], feature_distance={'min_ratio': 0.0, 'weight': 2.0})
    load_pretrained(model)
    images, labels = batch()
    model.eval()
    assert model.loss(images, labels)['distance.loss_feature'] < 1e-3
    with torch.no_grad():
        before = model.backbone(images)[-1]
        for parameter in model.backbone.parameters():
            parameter.mul_(1.1)
        expected = 2 * (model.backbone(images)[-1] - before).norm(dim=1).mean()
    loss = model.loss(images, labels)['distance.loss_feature']
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(p.grad is None for p in model.feature_distance.parameters())
    assert any(p.grad is not None for p in model.backbone.parameters())


@pytest.mark.parametrize('frozen', [False, True])
def test_the_pretrained_copy_is_not_saved_and_comes_back_from_its_file(
        frozen, pretrained, tmp_path):
    def make():
        model = build('MiT', pretrained['MiT'], feature_distance={})
        model.backbone.frozen = frozen
        return model

    model = make()
    load_pretrained(model)
    original = model.backbone.state_dict()['layers.0.0.projection.weight'].clone()
    with torch.no_grad():
        model.backbone.layers[0][0].projection.weight.add_(1)
    state = model.state_dict()
    assert not any(name.startswith('feature_distance') for name in state)
    torch.save({'state_dict': state, 'meta': {}}, tmp_path / 'run.pth')
    other = make()
    load_checkpoint(other, tmp_path / 'run.pth')
    assert torch.equal(other.feature_distance.reference.layers[0][0].projection.weight, original)
    expected = original if frozen else original + 1
    assert torch.equal(other.backbone.layers[0][0].projection.weight, expected)
    other.load_state_dict(state, strict=True)  # as a resumed training does


def test_distance_needs_pretrained_features():
    with pytest.raises(ConfigError, match=r"backbone\.weights='random' names none"):
        build(feature_distance={})


# --------------------------------------------------------------------------- style hallucination

@pytest.mark.parametrize('name', BACKBONES)
def test_both_styles_are_segmented_and_must_agree(name):
    model = build(name, hallucination=STYLES, auxiliary_head={
        'type': 'FCNHead', 'in_channels': BACKBONES[name][1], 'channels': 4, 'num_classes': 5,
        'norm_cfg': {'type': 'BN'}}).train()
    images, labels = batch()
    assert model.loss(images, labels).keys() == {
        'decode.loss_ce', 'decode.acc_seg', 'aux.loss_ce', 'aux.acc_seg'}
    seen = []
    forward = model.decode_head.forward
    model.decode_head.forward = lambda maps: seen.append(forward(maps)) or seen[-1]
    losses = model.loss(images, labels)
    (logits,) = seen
    assert len(logits) == 4
    torch.testing.assert_close(losses['style.loss_consistency'],
                               3 * js_divergence(logits[:2], logits[2:]))
    assert losses['style.loss_consistency'] > 0
    torch.testing.assert_close(
        losses['decode.loss_ce'],
        model.decode_head.loss_by_feat(logits, labels * 2)['loss_ce'])
    assert 'aux.loss_ce' in losses
    model.eval()
    assert len(model.extract_feat(images)[-1]) == 2


def test_both_options_together(pretrained):
    model = build('MiT', pretrained['MiT'], feature_distance={}, hallucination=STYLES).train()
    load_pretrained(model)
    maps, compared = [], []
    model.backbone.register_forward_hook(lambda module, inputs, output: maps.append(output[-1]))
    model.feature_distance.register_forward_pre_hook(
        lambda module, inputs: compared.append(inputs[1]))
    for _ in range(2):
        losses = model.loss(*batch())
    assert len(maps[1]) == 4
    assert torch.equal(compared[1], maps[1][:2])  # not those in another style
    assert {'style.loss_consistency', 'distance.loss_feature'} < losses.keys()
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert model.hallucination.memory[:4].any()


def test_a_model_at_test_forgives_the_styles_of_a_training():
    state = build(hallucination=STYLES).state_dict()
    assert 'hallucination.base' in state
    build().load_state_dict(state, strict=True)


def test_a_vision_transformer_or_mask_classification_cannot_hallucinate():
    vit = {'type': 'DINOv2', 'arch': {'embed_dim': 16, 'depth': 4, 'num_heads': 2}, 'img_size': 64,
           'out_indices': (0, 1, 2, 3), 'weights': 'random'}
    with pytest.raises(ConfigError, match='the backbone DINOv2 has not'):
        build(backbone=vit, hallucination=STYLES)
    mask = {'type': 'Mask2FormerHead', 'in_channels': (32, 64, 160, 256), 'num_classes': 5,
            'feat_channels': 16, 'num_points': 8,
            'pixel_decoder': {'num_layers': 1, 'num_heads': 2, 'ffn_channels': 16, 'num_groups': 4},
            'transformer_decoder': {'num_layers': 1, 'num_heads': 2, 'ffn_channels': 16}}
    with pytest.raises(ConfigError, match='Mask2FormerHead gives none'):
        build(decode_head=mask, hallucination=STYLES)
