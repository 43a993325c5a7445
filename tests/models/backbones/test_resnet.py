# SPDX-License-Identifier: Apache-2.0
"""ResNets: strides, dilations, frozen norms, refusals."""

import pytest
import torch
from torch import nn

from crossearth.errors import ConfigError
from crossearth.models.backbones import ResNet
from crossearth.registry import MODELS


def test_the_name_in_configs_is_ours():
    assert isinstance(MODELS.build({'type': 'ResNet', 'depth': 18, 'weights': 'random'}), ResNet)


@pytest.mark.parametrize(('output_stride', 'sides'), [
    (8, (24, 12, 12, 12)), (16, (24, 12, 6, 6)), (32, (24, 12, 6, 3))])
@pytest.mark.parametrize(('depth', 'widen'), [(18, 1), (50, 4)])
def test_maps_have_the_strides(depth, widen, output_stride, sides):
    net = ResNet(depth, output_stride, weights='random').eval()
    with torch.no_grad():
        maps = net(torch.randn(1, 3, 96, 64))
    assert isinstance(maps, list)  # a tuple would be maps and queries
    expected = [(1, widen * c, s, s * 2 // 3) for c, s in zip((64, 128, 256, 512), sides,
                                                              strict=True)]
    assert [tuple(m.shape) for m in maps] == expected
    assert net.embed_dim == widen * 512


@pytest.mark.parametrize(('contract', 'dilations'), [(True, (1, 2, 2, 4)), (False, (2, 2, 4, 4))])
def test_dilations_of_deeplab(contract, dilations):
    net = ResNet(50, 8, contract_dilation=contract, weights='random')
    firsts = [(stage[0].conv2.dilation[0], stage[1].conv2.dilation[0])
              for stage in (net.layer3, net.layer4)]
    assert (*firsts[0], *firsts[1]) == dilations
    assert net.layer4[0].conv2.stride == (1, 1)


def test_frozen_norms_keep_their_statistics_and_frozen_networks_everything():
    image = torch.randn(2, 3, 32, 32)
    for options, moves, trains in (({}, True, True), ({'norm_eval': True}, False, True),
                                   ({'frozen': True}, False, False)):
        net = ResNet(18, 8, weights='random', **options).train()
        before = net.layer2[0].bn1.running_mean.clone()
        maps = net(image)
        assert torch.equal(net.layer2[0].bn1.running_mean, before) is not moves
        assert maps[-1].requires_grad is trains
        assert net.layer1[0].conv1.training is trains


def test_it_needs_weights_or_a_clear_word():
    with pytest.raises(ConfigError, match=r'ResNet \(weights=None\) still has random values'):
        ResNet(18)(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(('depth', 'output_stride'), [(152, 8), (50, 4)])
def test_no_such_resnet(depth, output_stride):
    with pytest.raises(ConfigError, match='no such ResNet here'):
        ResNet(depth, output_stride)


def test_first_map():
    net = ResNet(18, weights='random')
    layer, channels = net.first_map()
    assert isinstance(layer, nn.Module)
    assert layer(torch.zeros(1, 3, 32, 32)).shape == (1, channels, 16, 16)
