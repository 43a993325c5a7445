# SPDX-License-Identifier: Apache-2.0
"""Mix Transformers: maps, sizes, stochastic depth, refusals (values: weights/test_pyramids)."""

import pytest
import torch
from torch import nn

from crossearth.errors import ConfigError
from crossearth.models.backbones import MiT
from crossearth.registry import MODELS


@pytest.mark.parametrize('size', [(64, 96), (65, 33), (20, 70), (9, 8)])
def test_maps_have_strides_4_to_32(size):
    net = MODELS.build({'type': 'MiT', 'arch': 'b0', 'weights': 'random'}).eval()
    with torch.no_grad():
        maps = net(torch.randn(2, 3, *size))
    assert isinstance(maps, list)
    for index, m in enumerate(maps):
        stride = 4 * 2 ** index
        assert m.shape == (2, (32, 64, 160, 256)[index], -(-size[0] // stride),
                           -(-size[1] // stride))
    assert net.embed_dim == 256


@pytest.mark.parametrize(('arch', 'millions'), [
    ('b0', 3.3), ('b1', 13.1), ('b2', 24.2), ('b3', 44.1), ('b4', 60.8), ('b5', 81.4)])
def test_sizes_are_those_of_the_paper(arch, millions):  # of its table 6, encoders
    with torch.device('meta'):
        net = MiT(arch, weights='random')
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.25)


def test_attention_gives_no_weights():
    net = MiT('b0', weights='random').eval()
    given = []
    for module in net.modules():
        if isinstance(module, nn.MultiheadAttention):
            module.register_forward_hook(lambda module, inputs, output: given.append(output[1]))
    net(torch.zeros(1, 3, 32, 32))
    assert given == [None] * 8


def test_stochastic_depth_grows_to_its_last_block():
    rates = [layer.attn.dropout_layer.drop_prob
             for stage in MiT('b0', drop_path=0.7, weights='random').layers for layer in stage[1]]
    assert rates == pytest.approx([0.1 * index for index in range(8)])


def test_it_needs_weights_and_an_architecture():
    with pytest.raises(ConfigError, match=r'MiT \(weights=None\) still has random values'):
        MiT('b0')(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ConfigError, match=r"backbone\.arch='b6' is unknown"):
        MiT('b6')


def test_frozen_networks_are_never_in_training_mode():
    net = MiT('b0', drop_path=0.9, weights='random', frozen=True).train()
    image = torch.randn(1, 3, 32, 32)
    assert torch.equal(net(image)[-1], net(image)[-1])
    assert not any(p.requires_grad for p in net.parameters())
