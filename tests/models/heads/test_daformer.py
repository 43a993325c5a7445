# SPDX-License-Identifier: Apache-2.0
"""The head of DAFormer against its formula, written with plain functions."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from crossearth.registry import MODELS

CHANNELS = (4, 8, 12, 16)


def head(**options):
    return MODELS.build({
        'type': 'DAFormerHead', 'in_channels': CHANNELS, 'channels': 6, 'num_classes': 5,
        **options})


def maps(batch=2, size=(96, 64), channels=CHANNELS):
    return [torch.randn(batch, c, size[0] // s, size[1] // s)
            for c, s in zip(channels, (4, 8, 16, 32), strict=True)]


def randomised(model):
    """A head in which every tensor matters, also those of the normalisations."""
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(tensor, 0.5, 1.5)
    return model


def norm_relu(x, norm):
    mean, var, weight, bias = (
        t.view(1, -1, 1, 1) for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    return (((x - mean) / (var + 1e-5).sqrt()) * weight + bias).clamp(min=0)


def formula(model, features, dilations):
    """Linear per stage, resize, concatenate, separable ASPP, 3x3 bottleneck, 1x1."""
    size = features[0].shape[-2:]
    x = torch.cat([
        F.interpolate(torch.einsum('bchw,kc->bkhw', f, e.weight[..., 0, 0])
                      + e.bias.view(1, -1, 1, 1), size, mode='bilinear', align_corners=False)
        for f, e in zip(features, model.embed, strict=True)], 1)
    branches = [norm_relu(F.conv2d(x, model.aspp[0].conv.weight), model.aspp[0].bn)]
    for d, branch in zip(dilations[1:], list(model.aspp)[1:], strict=True):
        deep, point = branch.depthwise_conv, branch.pointwise_conv
        y = F.conv2d(x, deep.conv.weight, padding=d, dilation=d, groups=x.shape[1])
        branches.append(norm_relu(F.conv2d(norm_relu(y, deep.bn), point.conv.weight), point.bn))
    mixed = F.conv2d(torch.cat(branches, 1), model.bottleneck.conv.weight, padding=1)
    return F.conv2d(norm_relu(mixed, model.bottleneck.bn), model.conv_seg.weight,
                    model.conv_seg.bias)


@pytest.mark.parametrize('dilations', [(1, 6, 12, 18), (1, 2)])
def test_equals_its_formula(dilations):
    model, features = randomised(head(dilations=dilations)).eval(), maps()
    with torch.no_grad():
        logits = model(features)
        assert logits.shape == (2, 5, 24, 16)
        torch.testing.assert_close(
            logits, formula(model, features, dilations), atol=1e-5, rtol=1e-5)


def test_size_of_the_published_head():
    with torch.device('meta'):
        model = head(in_channels=(64, 128, 320, 512), channels=256, num_classes=19)
    embed = (64 + 128 + 320 + 512) * 256 + 4 * 256
    separable = 1024 * 9 + 2 * 1024 + 1024 * 256 + 2 * 256
    aspp = 1024 * 256 + 2 * 256 + 3 * separable
    bottleneck = 9 * 1024 * 256 + 2 * 256
    assert sum(p.numel() for p in model.parameters()) == (
        embed + aspp + bottleneck + 256 * 19 + 19)
    assert model.dropout.p == 0.1


def test_every_parameter_learns():
    model = head().train()
    model(maps()).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
