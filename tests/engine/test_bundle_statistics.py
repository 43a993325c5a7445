# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_data import write_domain
from torch import nn

from crossearth.engine import bundle_statistics
from crossearth.engine.bundle_statistics import training_statistics
from crossearth.errors import WeightsNotFoundError
from crossearth.inference.gap import read_statistics

NORMAL = {'mean': (0.0, 0.0, 0.0), 'std': (255.0, 255.0, 255.0), 'bands': ('R', 'G', 'B')}


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Config of twelve training tiles of 32 px, and style nets whose embedding is the mean."""
    write_domain(tmp_path, 'dry', 'train', 12)
    nets = SimpleNamespace(predictor=lambda images: images.mean((2, 3)), sha256='abc')
    monkeypatch.setattr(bundle_statistics, 'build_kind', lambda kind: nets)
    return {'type': 'DomainSegDataset', 'data_root': str(tmp_path), 'domains': 'dry',
            'metainfo': {'classes': ('a', 'b')}}


class Model(nn.Module):
    """A segmentor whose backbone gives the image itself; it notes the shapes that it sees."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Identity()
        self.seen = []
        self.backbone.register_forward_pre_hook(lambda _, x: self.seen.append(x[0].shape))


def describe(dataset, crop=(16, 24), images=10):
    model = Model()
    return *training_statistics(dataset, model, NORMAL, crop, images), model


def test_style_and_features_of_training_tiles_are_described(data):
    statistics, missing, model = describe(data)
    assert missing == ''
    assert (statistics['style_kind'], statistics['style_sha256']) == ('magenta', 'abc')
    assert sum(shape[0] for shape in model.seen) == 10
    assert {tuple(shape[1:]) for shape in model.seen} == {(3, 16, 24)}
    style = read_statistics(statistics)['style']
    # random tiles: every channel around one half
    assert style.distances(np.full((1, 3), 0.5)) < style.distances(np.full((1, 3), 0.9))


def test_bands_come_in_the_models_order(data, tmp_path):
    for path in (tmp_path / 'train' / 'dry' / 'images').iterdir():
        red = np.zeros((32, 32, 3), np.uint8)
        red[..., 0] = 200 + int(path.stem)
        Image.fromarray(red).save(path)
    statistics, _, _ = describe(data)
    style = read_statistics(statistics)['style']
    red, blue = np.array([[0.8, 0, 0]]), np.array([[0, 0, 0.8]])
    assert style.distances(red) < style.distances(blue)


def test_images_smaller_than_a_tile_are_filled_up(data):
    *_, model = describe(data, crop=(48, 32))
    assert {tuple(shape[1:]) for shape in model.seen} == {(3, 48, 32)}


def test_what_is_missing_is_said_and_is_no_error(data, monkeypatch):
    statistics, missing, _ = describe({**data, 'data_root': '/nowhere'})
    assert statistics == {}
    assert '/nowhere' in missing

    def absent(kind):
        raise WeightsNotFoundError(f'no style network {kind}')

    monkeypatch.setattr(bundle_statistics, 'build_kind', absent)
    statistics, missing, _ = describe(data)
    assert statistics == {}
    assert missing == 'no style network magenta'
    assert torch.is_grad_enabled()
