# SPDX-License-Identifier: Apache-2.0
"""The linear head against its formula, and its loss and prediction."""

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from crossearth.registry import MODELS


def build():
    return MODELS.build({'type': 'LinearHead', 'in_channels': (3, 4), 'num_classes': 5})


def test_logits_equal_the_formula():
    head = build().eval()
    with torch.no_grad():
        for tensor in (head.norm.running_mean, head.norm.weight, head.norm.bias):
            tensor.normal_()
        head.norm.running_var.uniform_(0.5, 2)
    first, second = torch.randn(2, 3, 8, 6), torch.randn(2, 4, 4, 3)
    x = torch.cat([first, F.interpolate(second, (8, 6), mode='bilinear')], 1).movedim(1, -1)
    norm = head.norm
    x = (x - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    expected = x @ head.conv_seg.weight[:, :, 0, 0].T + head.conv_seg.bias
    torch.testing.assert_close(head([first, second]).movedim(1, -1), expected)


def test_it_is_linear_in_training_and_predicts_at_the_size_of_the_image():
    head = build().train()
    maps = [torch.randn(2, 3, 8, 8), torch.randn(2, 4, 4, 4)]
    samples = [SegDataSample(metainfo={'img_shape': (32, 32)}) for _ in range(2)]
    for sample in samples:
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 5, (1, 32, 32)))
    losses = head.loss(maps, samples, {})
    losses['loss_ce'].backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
    assert head.dropout is None or head.dropout.p == 0
    metas = [{'img_shape': (32, 32)}] * 2
    assert head.eval().predict(maps, metas, {}).shape == (2, 5, 32, 32)
