# SPDX-License-Identifier: Apache-2.0
"""Style predictors: torchvision's Inception-v3 as the oracle, its odd normalisation, any size."""

import pytest
import torch
from generated_nets import generated, images
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from crossearth.errors import DataError
from crossearth.style.predictor import JacksonPredictor, MagentaPredictor

# The first five numbers for `images(2, 96, 112)`, made once with the same weights in torchvision
# 0.29.2's inception_v3 up to Mixed_6e and the two-step normalisation of the published code.
TORCHVISION = [
    [4.593759, -2.176240, -3.645014, -7.639937, -1.445798],
    [4.632270, -2.419882, -3.670521, -7.965639, -1.624506]]


@pytest.fixture(scope='module')
def jackson():
    return generated(JacksonPredictor())


@pytest.fixture(scope='module')
def magenta():
    return generated(MagentaPredictor())


def test_jackson_has_the_tensors_of_the_published_file(jackson):
    state = jackson.state_dict()
    counters = [name for name in state if name.endswith('num_batches_tracked')]
    assert (len(state), len(counters)) == (422, 70)
    assert sum(t.numel() for t in state.values()) - len(counters) == 9_061_572
    assert state['fc.weight'].shape == (100, 768)
    assert state['Mixed_6b.branch7x7dbl_2.conv.weight'].shape == (128, 128, 7, 1)


def test_jackson_equals_torchvision(jackson):
    actual = jackson(images(2, 96, 112))[:, :5]
    torch.testing.assert_close(actual, torch.tensor(TORCHVISION), atol=1e-4, rtol=1e-4)


def test_jackson_normalises_in_two_steps_with_two_blues(jackson):
    x = images(1, 8, 8)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std_in = torch.tensor([0.229, 0.224, 0.255]).view(3, 1, 1)
    std_out = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    expected = (x - mean) / std_in * (std_out / 0.5) + (mean - 0.5) / 0.5
    before = x.clone()
    actual = jackson.normalise(x)
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(actual[:, :2], 2 * x[:, :2] - 1)
    torch.testing.assert_close(actual[:, 2], (x[:, 2] - 0.406) / 0.255 * 0.45 - 0.188)
    assert torch.equal(x, before)


def test_jackson_enlarges_what_its_convolutions_would_swallow(jackson):
    small = images(1, 20, 60)
    large = nn.functional.interpolate(small, (43, 60), mode='bilinear')
    torch.testing.assert_close(jackson(small), jackson(large))


def test_magenta_sees_images_at_256_px(magenta):
    large = images(1, 512, 320)
    small = nn.functional.interpolate(large, (256, 256), mode='bilinear', antialias=True)
    torch.testing.assert_close(magenta(large), magenta(small))


@pytest.mark.parametrize('name', ['jackson', 'magenta'])
@settings(max_examples=5, deadline=None)
@given(height=st.integers(1, 90), width=st.integers(1, 90))
def test_any_size_gives_100_numbers(name, jackson, magenta, height, width):
    embedding = {'jackson': jackson, 'magenta': magenta}[name](torch.rand(1, 3, height, width))
    assert embedding.shape == (1, 100)
    assert embedding.isfinite().all()


@pytest.mark.parametrize('name', ['jackson', 'magenta'])
def test_a_batch_equals_its_images(name, request):
    net = request.getfixturevalue(name)
    x = images(3, 64, 80)
    torch.testing.assert_close(net(x), torch.cat([net(image[None]) for image in x]))


@pytest.mark.parametrize('name', ['jackson', 'magenta'])
def test_frozen_for_ever(name, request):
    net = request.getfixturevalue(name)
    around = nn.Sequential(net).train()
    assert not any(module.training for module in net.modules())
    assert not any(p.requires_grad for p in around.parameters())
    before = {key: value.clone() for key, value in net.state_dict().items()}
    x = images(2, 48, 48).requires_grad_()
    assert not around(x).requires_grad
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


@pytest.mark.parametrize('name', ['jackson', 'magenta'])
@pytest.mark.parametrize('shape', [(1, 4, 64, 64), (3, 64, 64)])
def test_other_than_three_bands_is_refused(name, shape, request):
    with pytest.raises(DataError, match=r'RGB images \(B, 3, H, W\), .*three bands.*style=none'):
        request.getfixturevalue(name)(torch.rand(shape))
