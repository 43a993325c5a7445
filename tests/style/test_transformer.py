# SPDX-License-Identifier: Apache-2.0
"""Style transformers: the published table of layers as a formula; any size; frozen."""

import pytest
import torch
import torch.nn.functional as F
from generated_nets import generated, images
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from crossearth.errors import DataError
from crossearth.style.transformer import JacksonTransformer, MagentaTransformer

BOTH = [JacksonTransformer, MagentaTransformer]


@pytest.fixture(scope='module', params=BOTH, ids=lambda net: net.__name__)
def net(request):
    return generated(request.param())


@pytest.fixture
def embeddings():
    return torch.randn(2, 100)


def reference(state, x, embedding, contract_norm):
    """The table of the paper's layers, for one image."""
    def conv(x, name, stride=1):
        weight = state[f'{name}.weight']
        x = F.pad(x, [weight.shape[-1] // 2] * 4, mode='reflect')
        return F.conv2d(x, weight, state[f'{name}.bias'], stride)

    def norm(x, layer=None, part=''):
        var, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        x = (x - mean) / (var + 1e-5).sqrt()
        if layer is None:
            return x
        gamma, beta = (
            state[f'{layer}.fc_{k}{part}.weight'] @ embedding + state[f'{layer}.fc_{k}{part}.bias']
            for k in ('gamma', 'beta'))
        return gamma.view(-1, 1, 1) * x + beta.view(-1, 1, 1)

    for layer, stride in ('layers.0', 1), ('layers.1', 2), ('layers.2', 2):
        x = conv(x, f'{layer}.conv', stride)
        x = (norm(x) if contract_norm else x).clamp(0)
    for layer in (f'layers.{i}' for i in range(3, 8)):
        y = norm(conv(x, f'{layer}.conv1'), layer, '1').clamp(0)
        x = x + norm(conv(y, f'{layer}.conv2'), layer, '2')
    for layer in 'layers.8', 'layers.9':
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x = norm(conv(x, f'{layer}.conv'), layer).clamp(0)
    return torch.sigmoid(norm(conv(x, 'layers.10.conv'), 'layers.10'))


def test_jackson_has_the_parameters_of_the_published_file():
    state = JacksonTransformer().state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == 1_954_593
    assert state['layers.0.conv.weight'].shape == (32, 3, 9, 9)
    assert state['layers.3.fc_gamma2.weight'].shape == (128, 100)
    assert state['layers.10.fc_beta.weight'].shape == (3, 100)


def test_equals_the_formula(net, embeddings):
    x = images(2, 20, 36)
    norm = isinstance(net, JacksonTransformer)
    expected = [reference(net.state_dict(), a[None], e, norm)
                for a, e in zip(x, embeddings, strict=True)]
    torch.testing.assert_close(net(x, embeddings), torch.cat(expected), atol=1e-4, rtol=0)


def test_other_sizes_repeat_the_edge_and_cut_it_off(net, embeddings):
    x = images(2, 18, 21)
    padded = torch.cat([x, x[..., -1:].expand(-1, -1, -1, 3)], dim=-1)
    padded = torch.cat([padded, padded[..., -1:, :].expand(-1, -1, 2, -1)], dim=-2)
    assert torch.equal(net(x, embeddings), net(padded, embeddings)[..., :18, :21])


@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_any_size_is_kept(net, height, width):
    out = net(torch.rand(1, 3, height, width), torch.randn(1, 100))
    assert out.shape == (1, 3, height, width)
    assert (out >= 0).all()
    assert (out <= 1).all()


def test_frozen_for_ever(net, embeddings):
    around = nn.ModuleList([net]).train()
    assert not any(module.training for module in net.modules())
    assert not any(p.requires_grad for p in around.parameters())
    out = net(images(2, 16, 16).requires_grad_(), embeddings.requires_grad_())
    assert not out.requires_grad
    nn.Conv2d(3, 1, 3)(out).sum().backward()  # a trained layer may follow


def test_other_than_three_bands_is_refused(net, embeddings):
    with pytest.raises(DataError, match=r'these are \(2, 4, 16, 16\)\. Choose three bands'):
        net(torch.rand(2, 4, 16, 16), embeddings)
