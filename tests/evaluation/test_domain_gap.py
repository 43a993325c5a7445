# SPDX-License-Identifier: Apache-2.0
"""The gap beside a prediction; the two training sides are tested with `crossearth gap`."""

import numpy as np
import pytest
from inference.bundles import coloured_tiles, described_bundle, tiny_bundle
from inference.rasters import write_raster

from crossearth.evaluation import domain_gap
from crossearth.evaluation.domain_gap import bundle_domain, gap_gauge, measure_scene, spread
from crossearth.inference.predictor import Predictor
from crossearth.inference.scene import SceneOptions, load_model


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return described_bundle(tmp_path_factory.mktemp('described') / 'bundle')


@pytest.fixture
def scene(tmp_path):
    return str(write_raster(
        tmp_path / 'scene.tif', np.concatenate(list(coloured_tiles(6, 3)), axis=2)))


def test_scenes_are_spread_evenly():
    assert spread(list('abcdef'), 3) == ['a', 'c', 'e']
    assert spread(list('ab'), 3) == ['a', 'b']


def test_a_gauge_measures_what_a_scene_alone_is_measured(bundle, scene):
    domain = bundle_domain(bundle, device='cpu')
    _, expected = measure_scene(scene, domain, SceneOptions().fitted(domain.card), 4)
    gauge = gap_gauge(bundle, 4, load_model(bundle, device='cpu'))
    # the size of the tiles that are mapped is another matter
    found = gauge(scene, SceneOptions(tile=100, overlap=90))
    assert found == {**expected, 'reference': 'dry', 'notes': []}
    assert found['style']['tiles'] == 4
    assert set(found) >= {'style', 'features', 'place', 'verdict'}


def test_the_network_that_is_there_is_used(bundle, scene, monkeypatch):
    predictor = load_model(bundle, device='cpu')
    monkeypatch.setattr(domain_gap, 'build_network', lambda *_: pytest.fail('loaded again'))
    assert 'features' in gap_gauge(bundle, 4, predictor)(scene, SceneOptions())


def test_a_runtime_without_a_network_gets_one(bundle, scene):
    found = gap_gauge(bundle, 4, Predictor(lambda images: images, 3))(scene, SceneOptions())
    assert found == gap_gauge(bundle, 4, load_model(bundle, device='cpu'))(scene, SceneOptions())


def test_what_cannot_be_measured_is_said_and_stops_nothing(bundle, tmp_path):
    plain = tiny_bundle(tmp_path / 'plain')
    found = gap_gauge(plain, 4, load_model(plain, device='cpu'))('any.tif', SceneOptions())
    assert list(found) == ['error']
    assert found['error'].startswith(f'{plain}: the card holds no statistics')
    assert 'Export the bundle again' in found['error']
    empty = write_raster(tmp_path / 'empty.tif', np.zeros((3, 64, 64), np.uint8), nodata=0)
    found = gap_gauge(bundle, 4, load_model(bundle, device='cpu'))(str(empty), SceneOptions())
    assert list(found) == ['error']
    assert 'no tile with data' in found['error']
