# SPDX-License-Identifier: Apache-2.0
"""The head of DeepLabv2 against four convolutions of torch, summed."""

import pytest
import torch
import torch.nn.functional as F

from crossearth.registry import MODELS


def head(**options):
    return MODELS.build({
        'type': 'DeepLabV2Head', 'in_channels': 8, 'num_classes': 5, **options})


@pytest.mark.parametrize('dilations', [(6, 12, 18, 24), (1, 3)])
def test_equals_the_sum_of_convolutions(dilations):
    model = head(dilations=dilations)
    feature = torch.randn(2, 8, 30, 22)
    expected = torch.zeros(2, 5, 30, 22)
    for branch, d in zip(model.branches, dilations, strict=True):
        expected += F.conv2d(feature, branch.weight, branch.bias, padding=d, dilation=d)
    torch.testing.assert_close(model([torch.randn(2, 4, 60, 44), feature]), expected)


def test_dilations_and_size_are_the_published_ones():
    model = head(in_channels=2048, num_classes=19)
    assert [branch.dilation for branch in model.branches] == [(d, d) for d in (6, 12, 18, 24)]
    assert sum(p.numel() for p in model.parameters()) == 4 * (9 * 2048 * 19 + 19)


def test_initial_weights():
    model = head(in_channels=256)
    model.init_weights()
    for branch in model.branches:
        assert branch.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert branch.weight.mean().abs() < 1e-3
        assert branch.bias.eq(0).all()


def test_no_dropout_in_training():
    model, feature = head().train(), [torch.randn(1, 8, 12, 12)]
    assert torch.equal(model(feature), model(feature))
