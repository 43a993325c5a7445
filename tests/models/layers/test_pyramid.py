# SPDX-License-Identifier: Apache-2.0
"""The lazy pyramid against maps that are resized first, alone and under the heads that take it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from crossearth.models.layers.pyramid import Pyramid, cropped, project, select_images
from crossearth.registry import MODELS

C = 20  # no other axis of the models here is as long
GRIDS = [((4, 6), None), ((5, 3), (67, 35)), ((1, 3), (16, 48)), ((1, 1), (5, 9))]


def patch_maps(grid=(4, 6)):
    return [torch.randn(2, C, *grid, dtype=torch.float64, requires_grad=True) for _ in range(4)]


def plain(maps, size=None):
    """The four maps at their strides, resized as the published models do it."""
    out = []
    for x, stride in zip(maps, (4, 8, 16, 32), strict=True):
        if stride < 32 or min(x.shape[-2:]) > 1:
            x = F.interpolate(x, scale_factor=16 / stride, mode='bilinear')
        else:
            x = F.interpolate(x, [max(1, side // 2) for side in x.shape[-2:]], mode='bilinear')
        out.append(x if size is None else x[..., :-(-size[0] // stride), :-(-size[1] // stride)])
    return out


@pytest.mark.parametrize(('grid', 'size'), GRIDS)
def test_maps_are_those_of_the_plain_pyramid(grid, size):
    maps = patch_maps(grid)
    expected = plain(maps, size)
    pyramid = Pyramid(maps) if size is None else cropped(Pyramid(maps), size)
    assert len(pyramid) == 4
    backwards = [pyramid[i] for i in (-1, -2, -3, -4)]
    for found in (list(pyramid), pyramid[:], pyramid[::-1][::-1], backwards[::-1]):
        torch.testing.assert_close(found, expected, atol=1e-13, rtol=0)
    assert all(pyramid[i] is pyramid[i - 4] for i in range(4))  # resized once
    with pytest.raises(IndexError):
        pyramid[4]
    if size is not None:
        whole = plain(maps)
        torch.testing.assert_close(cropped(whole, size), expected, atol=0, rtol=0)


@pytest.mark.parametrize(('grid', 'size'), GRIDS)
@pytest.mark.parametrize('index', [0, 1, 2, 3, -4])
@pytest.mark.parametrize('bias', [True, False])
def test_projection_equals_that_of_the_resized_map(grid, size, index, bias):
    convolution = nn.Conv2d(C, 5, 1, bias=bias, dtype=torch.float64)
    maps = patch_maps(grid)
    results = []
    for features in (Pyramid(maps, size), plain(maps, size)):
        out = project(features, index, convolution)
        leaves = [maps[index], *convolution.parameters()]
        results.append([out, *torch.autograd.grad((out * out.detach().cos()).sum(), leaves)])
    torch.testing.assert_close(*results, atol=1e-10, rtol=1e-10)


def test_projection_runs_at_the_smaller_size():
    seen = []

    def convolution(x):
        seen.append(x.shape[-2:])
        return x

    for index in range(4):
        project(Pyramid(patch_maps()), index, convolution)
    assert seen == [(4, 6), (4, 6), (4, 6), (2, 3)]


@pytest.mark.parametrize('images', [slice(1), slice(1, None), slice(0, 0)])
def test_images_of_a_batch(images):
    maps = patch_maps()
    for features in (Pyramid(maps, (60, 90)), plain(maps, (60, 90))):
        found = select_images(features, images)
        torch.testing.assert_close(list(found), [x[images] for x in plain(maps, (60, 90))])


def head(kind):
    sizes = {'in_channels': [C] * 4, 'num_classes': 3}
    small = {'feat_channels': 8, 'num_queries': 5, 'num_points': 16, **sizes,
             'pixel_decoder': {
                 'num_layers': 1, 'num_heads': 2, 'num_groups': 2, 'ffn_channels': 16},
             'transformer_decoder': {'num_layers': 1, 'num_heads': 2, 'ffn_channels': 16}}
    options = {
        'Mask2FormerHead': small,
        'MIMHead': {'in_channels': C, 'channels': 4, 'size': 'stride4'},
        'LinearHead': sizes,
        'DAFormerHead': {**sizes, 'channels': 8},
        'mmseg.FCNHead': {'in_channels': C, 'in_index': -2, 'channels': 4, 'num_classes': 3},
    }[kind]
    return MODELS.build({'type': kind, **options}).double().eval()


@pytest.mark.parametrize(
    'kind', ['Mask2FormerHead', 'MIMHead', 'LinearHead', 'DAFormerHead', 'mmseg.FCNHead'])
def test_heads_give_the_same_for_both(kind):
    model, maps = head(kind), patch_maps()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 0.3)
    arguments = ((64, 96),) if kind == 'MIMHead' else ()
    results = []
    for features in (Pyramid(maps), plain(maps)):
        out = torch.cat([x.flatten() for x in tree_leaves(model(features, *arguments))])
        leaves = [*maps, *model.parameters()]
        weights = torch.linspace(-1, 1, len(out), dtype=torch.float64)
        results.append([out, torch.autograd.grad(
            (out * weights).sum(), leaves, allow_unused=True)])
    torch.testing.assert_close(*results, atol=1e-10, rtol=1e-10)


class LargeMaps(TorchDispatchMode):
    """Shapes of all maps of C channels that are finer than the patch grid."""

    def __init__(self, grid):
        super().__init__()
        self.pixels, self.found = grid[0] * grid[1], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        self.found += [
            x.shape for x in tree_leaves(out) if isinstance(x, torch.Tensor) and x.ndim == 4
            and C in x.shape[1:] and x[0].numel() > C * self.pixels]
        return out


@pytest.mark.parametrize('kind', ['Mask2FormerHead', 'MIMHead', 'LinearHead', 'DAFormerHead'])
def test_all_channels_never_meet_stride_four(kind):
    backbone = MODELS.build({
        'type': 'DINOv2', 'arch': {'embed_dim': C, 'depth': 4, 'num_heads': 2}, 'img_size': 64,
        'out_indices': (0, 1, 2, 3), 'weights': 'random', 'frozen': False}).double()
    model = head(kind)
    arguments = ((60, 90),) if kind == 'MIMHead' else ()
    with LargeMaps((4, 6)) as maps:
        out = model(backbone(torch.randn(2, 3, 60, 90, dtype=torch.float64)), *arguments)
        sum(x.square().sum() for x in tree_leaves(out)).backward()
    assert not maps.found
    with LargeMaps((4, 6)) as maps:
        model(plain(patch_maps()), *arguments)
    assert maps.found
