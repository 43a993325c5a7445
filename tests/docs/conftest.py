# SPDX-License-Identifier: Apache-2.0
"""The folder that the pages and notebooks speak of."""

import pytest
from docs.pages import ROOT
from inference.bundles import tiny_bundle
from inference.rasters import rgb, write_raster
from tiny_data import write_pairs


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp('bundle'))


@pytest.fixture
def workplace(tmp_path, monkeypatch, bundle):
    """A folder with all that the pages speak of: data, a model, a scene, the project's configs."""
    for domain in ('dry', 'wet', 'high'):
        write_pairs(tmp_path / 'data' / 'mine' / domain, 1)
    write_raster(tmp_path / 'scene.tif', rgb(70, 90))
    for link, target in (('models/demo', bundle), ('configs/_base_', ROOT / 'configs/_base_')):
        (tmp_path / link).parent.mkdir()
        (tmp_path / link).symlink_to(target)
    (tmp_path / 'configs' / 'mine').mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path
