# SPDX-License-Identifier: Apache-2.0
"""Earth-Style Injection with nets that can be worked out by hand, and as a plug-in."""

import copy

import numpy as np
import pytest
import torch
from crossearth_style_fakes import fake_nets, write_statistics

from crossearth.errors import (
    ConfigError,
    DataError,
    MissingDependencyError,
    WeightsNotFoundError,
)
from crossearth.registry import MODELS, TRANSFORMS
from crossearth.style import injection as module
from crossearth.style.injection import StyleInjection
from crossearth.style.kinds import build_kind
from crossearth.style.magenta_onnx import convert_magenta
from crossearth.style.nets import MAGENTA_FILE
from crossearth.style.statistics import StyleStatistics

MEAN = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
STD = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)


@pytest.fixture
def nets(monkeypatch):
    made = fake_nets()
    monkeypatch.setattr(module, 'build_kind', lambda kind, folder: made)
    return made


@pytest.fixture
def style(nets, tmp_path):
    path = write_statistics(tmp_path / 's.safetensors', nets)
    return lambda **changes: StyleInjection(**{'statistics': path, 'block': 4, **changes})


def normalised(*shape):
    return (torch.rand(shape) * 255 - MEAN) / STD


def pixels(x):
    return (x * STD + MEAN) / 255


def test_every_sample_gets_its_own_style_as_equation_1_says(style):
    # the fake predictor gives the mean colour, the fake transformer paints all with the embedding
    x = normalised(3, 3, 16, 12)
    styled, keep = style(mask_ratio=1, alpha=0.25, seed=5)(x)
    assert not keep.any()
    own = pixels(x).mean((2, 3))
    eps = (pixels(styled)[:, :, 0, 0] - 0.75 * own) / 0.25
    torch.testing.assert_close(pixels(styled), pixels(styled)[..., :1, :1].expand_as(x))
    # N((0.5, 0.5, 0.5), 1e-4 I): near the mean, and three draws
    assert ((eps - 0.5).abs() < 0.06).all()
    assert len(eps.unique()) == 9


def test_a_batch_is_its_samples(style):
    # alpha = 0: nothing sampled, so what a sample becomes must not depend on its neighbours
    x = normalised(4, 3, 8, 8)
    injection = style(mask_ratio=1, alpha=0)
    together = injection(x)[0]
    torch.testing.assert_close(together, torch.cat([injection(one[None])[0] for one in x]))


def test_values_outside_the_colour_range_are_cut_before_the_nets(style, nets):
    seen = []
    nets.predictor.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    style()(torch.tensor([-9.0, 9.0]).view(1, 1, 1, 2).expand(1, 3, 4, 2))
    assert seen[0].flatten(1).unique().tolist() == [0.0, 1.0]


@pytest.mark.parametrize(('convention', 'share'), [('tau', 0.3), ('eq5', 0.7)])
def test_share_of_restyled_pixels(style, convention, share):
    x = normalised(4, 3, 256, 256)
    styled, keep = style(mask_ratio=0.3, mask_convention=convention)(x)
    changed = (styled != x).any(dim=1, keepdim=True)
    assert torch.equal(changed, keep == 0)
    assert abs(changed.float().mean() - share) < 0.03


def test_kind_none_is_the_image_itself_and_needs_nothing():
    style = StyleInjection('none', probability=1)
    x = torch.randn(2, 5, 8, 8)  # any number of bands
    styled, keep = style(x)
    assert styled is x
    assert torch.equal(keep, torch.ones(2, 1, 8, 8))
    assert not any(style.draw() for _ in range(50))


# ------------------------------------------------------------------------------- inside a model

def test_nets_are_no_part_of_the_model(style):
    injection = style(mask_ratio=1)
    injection(normalised(1, 3, 8, 8))
    assert list(injection.parameters()) == []
    assert list(injection.state_dict()) == ['draws.state']
    assert not any('net' in name or 'predictor' in name for name, _ in injection.named_modules())
    copied = copy.deepcopy(injection)  # as an average of the weights does
    assert copied.draw() == injection.draw()


def test_nothing_is_loaded_before_the_first_iteration(monkeypatch):
    monkeypatch.setattr(module, 'build_kind', lambda *_: pytest.fail('loaded'))
    StyleInjection().eval()


def test_no_gradient(style):
    x = normalised(1, 3, 8, 8).requires_grad_()
    assert not style(mask_ratio=0.5)(x)[0].requires_grad


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_mixed_precision_runs_the_nets_in_float32(style, nets, dtype):
    seen = []
    nets.transformer.register_forward_hook(
        lambda _, args, out: seen.append((args[0] @ args[0].mT, out)))  # autocast acts on products
    with torch.autocast('cpu', dtype):
        styled, _ = style(mask_ratio=1)(normalised(1, 3, 8, 8).to(dtype))
    assert styled.dtype == dtype
    assert seen[0][0].dtype == seen[0][1].dtype == torch.float32


def test_nets_follow_the_images(style, nets, monkeypatch):
    moved = []
    monkeypatch.setattr(type(nets), 'to', lambda self, device: moved.append(device) or self)
    style()(normalised(1, 3, 8, 8))
    assert moved == [torch.device('cpu')]


# ------------------------------------------------------------------------------------ bad input

@pytest.mark.parametrize('shape', [(2, 4, 8, 8), (2, 1, 8, 8), (3, 8, 8)])
def test_other_than_three_bands(shape):
    with pytest.raises(ConfigError, match=r'needs RGB images.*Choose three bands.*style=none'):
        StyleInjection('reinhard_lab')(torch.zeros(shape))


@pytest.mark.parametrize(('arguments', 'message'), [
    ({'kind': 'magneta'}, "kind='magneta' is unknown. Did you mean 'magenta'"),
    ({'mask_convention': 'tua'}, "mask_convention='tua' is unknown. Did you mean 'tau'"),
    ({'covariance': 'diag'}, "covariance='diag' is unknown"),
    ({'alpha': 1.5}, 'alpha=1.5. Set it between 0 and 1'),
    ({'probability': -0.1}, 'probability=-0.1. Set it between'),
    ({'mask_ratio': 2}, 'mask_ratio=2 is not a fraction')])
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        StyleInjection(**arguments)


def test_missing_weights_stop_the_first_iteration(tmp_path):
    style = StyleInjection('magenta', probability=0, folder=tmp_path)
    with pytest.raises(WeightsNotFoundError, match=rf'no {MAGENTA_FILE} in .*style=none'):
        style.draw()


def test_statistics_of_another_predictor_stop_the_first_iteration(tmp_path, nets):
    path = write_statistics(tmp_path / 's.safetensors', nets, predictor_sha256='f' * 64)
    with pytest.raises(ConfigError, match='fitted with the style predictor ffffffffffff'):
        StyleInjection(statistics=path, probability=0).draw()


def test_missing_statistics(tmp_path):
    with pytest.raises(DataError, match=r'no file of style statistics.*style=none'):
        StyleInjection('reinhard_lab', statistics=tmp_path / 'absent').draw()


# -------------------------------------------------------------------------------------- plug-in

def test_built_from_a_config():
    style = MODELS.build({'type': 'StyleInjection', 'kind': 'reinhard_lab', 'probability': 1})
    assert style.draw()


def test_transform_styles_a_sample():
    transform = TRANSFORMS.build(
        {'type': 'EarthStyle', 'kind': 'reinhard_lab', 'mask_ratio': 0.5, 'block': 8, 'alpha': 1})
    image = np.random.default_rng(0).integers(0, 256, (32, 24, 3), np.uint8)
    sample = transform({'img': image, 'img_path': 'a'})
    keep = sample['style_mask'] == 1
    assert sample['img_path'] == 'a'
    assert sample['img'].dtype == np.uint8
    assert keep.any()
    np.testing.assert_array_equal(sample['img'][keep], image[keep])
    assert (sample['img'][~keep] != image[~keep]).any(axis=-1).mean() > 0.9


def test_transform_hands_the_nets_rgb(nets, tmp_path):
    path = write_statistics(tmp_path / 's.safetensors', nets)
    transform = TRANSFORMS.build(
        {'type': 'EarthStyle', 'statistics': path, 'mask_ratio': 1, 'alpha': 0})
    seen = []
    nets.predictor.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    blue = np.full((8, 8, 3), (255, 0, 51), np.uint8)  # BGR
    np.testing.assert_array_equal(transform({'img': blue})['img'], blue)
    torch.testing.assert_close(seen[0][0, :, 0, 0], torch.tensor([0.2, 0, 1]))


def test_transform_leaves_the_rest_alone():
    transform = TRANSFORMS.build(
        {'type': 'EarthStyle', 'kind': 'reinhard_lab', 'probability': 0})
    sample = {'img': np.zeros((8, 8, 3), np.uint8)}
    assert transform(sample) is sample


def test_transform_refuses_wrong_arguments_when_built():
    with pytest.raises(ConfigError, match='alpha=2'):
        TRANSFORMS.build({'type': 'EarthStyle', 'alpha': 2})


# ------------------------------------------------------------------------------- the shipped nets

def test_magenta_with_its_shipped_statistics(tmp_path):
    try:
        convert_magenta(tmp_path)
    except MissingDependencyError as error:
        pytest.skip(str(error))
    nets = build_kind('magenta', tmp_path)
    assert StyleStatistics.load(
        module.__file__.replace('injection.py', 'data/bluemarble_field.safetensors')
    ).predictor_sha256 == nets.sha256
    x = normalised(2, 3, 70, 50)
    styled, keep = StyleInjection('magenta', mask_ratio=0.5, block=16, folder=tmp_path)(x)
    changed = (styled != x).any(dim=1, keepdim=True)
    assert torch.equal(changed, keep == 0)
    restyled = pixels(styled)[changed.expand_as(x)]
    assert -1e-4 < restyled.min() < restyled.max() < 1.0001
