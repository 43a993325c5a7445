# SPDX-License-Identifier: Apache-2.0
"""The map of the demo: its scene and its picture."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import rasterio
from inference.bundles import tiny_bundle
from PIL import Image

from crossearth.inference.scene import predict

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def demo():
    return runpy.run_path(str(ROOT / 'scripts' / 'demo_map.py'))


def test_the_scene_lies_where_it_says_and_becomes_a_picture(demo, tmp_path):
    from crossearth.datasets.bluemarble_build import find_sources
    from crossearth.errors import MissingDependencyError

    try:
        world = Image.open(find_sources()['image'])
    except MissingDependencyError as error:
        pytest.skip(str(error))
    scene = demo['write_scene'](tmp_path / 'scene.tif')
    with rasterio.open(scene) as file:
        assert file.crs.to_epsg() == 4326
        assert tuple(file.bounds) == pytest.approx((95, 8, 110, 23))
        assert file.res == pytest.approx((0.05, 0.05))
        row, col = file.index(101.0, 10.0)  # in the Gulf of Thailand
        red, green, blue = file.read()[:, row, col].tolist()
    side = world.width / 360
    sea = world.getpixel((int((180 + 101) * side), int((90 - 10) * side)))
    np.testing.assert_allclose((red, green, blue), sea, atol=25)
    assert blue > red

    bundle = tiny_bundle(tmp_path / 'bundle')
    predict(scene, bundle, tmp_path / 'map.tif', tile=320)
    picture = demo['draw'](scene, tmp_path / 'map.tif', bundle, tmp_path / 'picture.png')
    assert np.array(Image.open(picture)).std() > 20
