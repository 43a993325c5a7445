# SPDX-License-Identifier: Apache-2.0
"""The decoder and losses of masked image modelling: counts, formulas, where gradients go."""

import pytest
import torch
import torch.nn.functional as F

from crossearth.errors import ConfigError
from crossearth.models.heads import Corrupted, MIMHead
from crossearth.registry import MODELS

DECODERS = ('aspp_shared', 'aspp_per_stage', 'linear')


def count(module):
    return sum(p.numel() for p in module.parameters())


def maps(batch=2, channels=8, size=(64, 48)):
    return [torch.randn(batch, channels, size[0] // s, size[1] // s) for s in (4, 8, 16, 32)]


def head(**options):
    return MIMHead(**{'in_channels': 8, 'channels': 4, 'size': 32, **options})


@pytest.mark.parametrize(('decoder', 'stages'), [
    ('aspp_shared', 2_885_120), ('linear', 2_359_552), ('aspp_per_stage', 4 * 2_359_552)])
def test_published_parameter_counts(decoder, stages):
    with torch.device('meta'):
        model = MODELS.build({'type': 'MIMHead', 'in_channels': 1024, 'decoder': decoder})
    assert [count(m) for m in (model.stages, model.refine, model.restore)] == [
        stages, 262_400, 771]


@pytest.mark.parametrize('decoder', DECODERS)
@pytest.mark.parametrize(('size', 'mixed'), [(32, (32, 32)), ('stride4', (16, 12))])
def test_equals_concatenation_at_full_size(decoder, size, mixed):
    model, features = head(decoder=decoder, size=size), maps()
    stages = list(model.stages) * (4 // len(model.stages))
    resized = [
        F.interpolate(stage(stage.reduce(f) if decoder == 'aspp_shared' else f), mixed,
                      mode='bilinear')
        for stage, f in zip(stages, features, strict=True)]
    expected = model.restore(model.refine(torch.cat(resized, 1)).relu())
    if size == 'stride4':
        expected = F.interpolate(expected, (64, 48), mode='bilinear')
    restored = model(features, (64, 48))
    assert restored.shape == (2, 3, *((32, 32) if size == 32 else (64, 48)))
    torch.testing.assert_close(restored, expected, atol=1e-5, rtol=0)


def test_dilations_reach_as_far_as_they_say():
    branches = head().stages[0].branches
    spot = torch.zeros(1, 4, 41, 41)
    spot[..., 20, 20] = 1
    for branch, dilation in zip(branches, (1, 6, 12, 18), strict=True):
        hit = (branch(spot) - branch(torch.zeros_like(spot)))[0, 0].nonzero()
        expected = {(20 + i * dilation, 20 + j * dilation) for i in (-1, 0, 1) for j in (-1, 0, 1)}
        assert set(map(tuple, hit.tolist())) == expected


def known(model, image):
    """Let `model` restore `image` whatever it sees; images are (B, 3, 32, 32)."""
    model.forward = lambda features, size: image
    return model


@pytest.mark.parametrize(('loss', 'formula'), [('l1', torch.abs), ('mse', torch.square)])
def test_losses_are_their_formulas(loss, formula):
    original, seen_m, seen_s = torch.randn(3, 2, 3, 32, 32)
    restored = torch.randn(4, 3, 32, 32)
    keep_m, keep_s = (torch.rand(2, 2, 1, 32, 32) > 0.5).float()
    versions = [Corrupted(seen_m, keep_m), Corrupted(seen_s, keep_s)]

    def losses(**options):
        return known(head(loss=loss, **options), restored).loss(None, original, versions)

    m, s = restored[:2], restored[2:]
    expected = {'loss_m': formula(m - original).mean(), 'loss_s': formula(s - original).mean(),
                'loss_delta': (m - s).abs().mean()}
    torch.testing.assert_close(losses(), expected)
    torch.testing.assert_close(
        losses(loss_weight=0.25), {name: value / 4 for name, value in expected.items()})
    own = losses(target='self')
    torch.testing.assert_close(own['loss_m'], formula(m - seen_m).mean())
    torch.testing.assert_close(own['loss_s'], formula(s - seen_s).mean())
    hidden = losses(loss_on='masked')
    for name, image, keep in (('loss_m', m, keep_m), ('loss_s', s, keep_s)):
        chosen = (keep == 0).expand_as(image)
        torch.testing.assert_close(hidden[name], formula(image - original)[chosen].mean())


def test_target_is_resized_to_the_restored_image():
    original = torch.randn(1, 3, 64, 64)
    halved = F.avg_pool2d(original, 2)  # what bilinear resizing to a half is
    losses = known(head(), halved).loss(None, original, [Corrupted(original, original[:, :1])])
    assert losses.keys() == {'loss_m'}
    assert losses['loss_m'] < 1e-6


def test_nothing_masked_is_no_loss_on_masked_pixels():
    image = torch.randn(1, 3, 32, 32)
    model = head(loss_on='masked')
    loss = model.loss(maps(1, size=(32, 32)), image, [Corrupted(image, torch.ones(1, 1, 32, 32))])
    loss['loss_m'].backward()
    assert loss['loss_m'] == 0
    assert all(p.grad is not None and p.grad.eq(0).all() for p in model.parameters())


@pytest.mark.parametrize('decoder', DECODERS)
def test_every_parameter_learns_and_the_target_does_not(decoder):
    model = head(decoder=decoder, target='self')
    seen = torch.randn(2, 3, 64, 64, requires_grad=True)
    model.loss(maps(2, size=(64, 64)), seen.detach(),
               [Corrupted(seen, torch.ones(2, 1, 64, 64))])['loss_m'].backward()
    assert seen.grad is None
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize('decoder', DECODERS)
def test_gradients_lie_like_their_parameters(decoder):
    """DDP warns of others, and copies them more slowly."""
    model = head(decoder=decoder, size=128, channels=256)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # one takes another kernel
    try:
        model(maps(1, size=(128, 128)), (128, 128)).square().mean().backward()
    finally:
        torch.set_num_threads(threads)
    assert [name for name, p in model.named_parameters() if p.grad.stride() != p.stride()] == []


def test_mixed_precision():
    model, image = head(), torch.randn(2, 3, 64, 64)
    with torch.autocast('cpu', torch.bfloat16):
        features = maps(4, size=(64, 64))
        assert model(features, (64, 64)).dtype == torch.bfloat16
        version = Corrupted(image, torch.ones(2, 1, 64, 64))
        losses = model.loss(features, image, [version, version])
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()


@pytest.mark.parametrize(('option', 'match'), [
    ({'decoder': 'asp'}, r"mim_head\.decoder='asp' is unknown.*'aspp_per_stage'"),
    ({'loss': 'huber'}, r"mim_head\.loss='huber'.*'l1', 'mse'"),
    ({'target': 'styled'}, r"mim_head\.target='styled'"),
    ({'loss_on': 'holes'}, r"mim_head\.loss_on='holes'"),
    ({'size': 'stride8'}, r"mim_head\.size='stride8'.*'stride4'"),
    ({'size': 0}, r'mim_head\.size=0'),
    ({'loss_weight': -1.0}, r'mim_head\.loss_weight=-1\.0'),
    ({'loss_weight': float('nan')}, r'mim_head\.loss_weight=nan')])
def test_unknown_choice(option, match):
    with pytest.raises(ConfigError, match=match):
        head(**option)
