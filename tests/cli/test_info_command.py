# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
from inference.bundles import tiny_bundle
from inference.rasters import HALF_METRE, rgb, write_raster
from rasterio import Affine
from rasterio import open as open_raster

from crossearth.cli.main import main
from crossearth.inference.hints import needed_options, typical_range
from crossearth.inference.raster import raster_info


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp('bundle'))


def info(*arguments: object) -> int:
    return main(['info', *map(str, arguments)])


def four_bands(path, *names: str):
    """Reflectances times 10,000 of four bands with names."""
    data = np.random.default_rng(0).integers(100, 3000, (4, 90, 60)).astype(np.uint16)
    data[:, 0, 0] = 60_000  # an outlier
    write_raster(path, data, photometric='minisblack', nodata=0,
                 transform=HALF_METRE * HALF_METRE.scale(4))
    with open_raster(path, 'r+') as file:
        file.descriptions = names or (None,) * 4
    return path


def test_a_scene_is_described(tmp_path, capsys):
    path = write_raster(tmp_path / 'a.tif', rgb(2000, 3000), nodata=0)
    assert info(path) == 0
    said = capsys.readouterr().out
    for part in ('3,000 x 2,000 px, GTiff', '3 of uint8', 'value 0', 'EPSG:32637', '0.5 m',
                 'about 1.5 km2'):
        assert part in said
    assert info(path, '--json') == 0
    [report] = json.loads(capsys.readouterr().out)
    assert (report['width'], report['gsd_m'], report['area_m2']) == (3000, 0.5, 1.5e6)


def test_what_is_not_known_is_said(tmp_path, capsys):
    path = write_raster(tmp_path / 'a.tif', np.zeros((3, 4, 4), np.float32), crs=None,
                        transform=Affine.identity(), nodata=float('nan'))
    assert info(path) == 0
    said = capsys.readouterr().out
    for part in ('value nan', 'of unknown size', 'unknown', 'in pixels'):
        assert part in said
    assert info(path, '--json') == 0
    assert 'NaN' not in capsys.readouterr().out  # that is no JSON


def test_the_options_that_a_model_needs_make_it_run(tmp_path, bundle, monkeypatch, capsys):
    monkeypatch.setenv('COLUMNS', '300')
    path = four_bands(tmp_path / 'a.tif', 'blue', 'green', 'red', 'nir')
    assert main(['predict', str(path), '-m', str(bundle), '-o', str(tmp_path / 'map.tif')]) == 2
    capsys.readouterr()
    assert info(path, '-m', bundle) == 0
    said = capsys.readouterr().out
    assert '(as the file names them)' in said
    command = next(line for line in said.splitlines() if 'crossearth predict' in line).split()
    assert command[-6:] == ['--bands', '3,2,1', '--scale', '0,3000', '--gsd', 'model']
    assert main([*command[1:-6], *command[-6:], '-o', str(tmp_path / 'map.tif')]) == 0
    assert (tmp_path / 'map.tif').is_file()


def test_bands_without_names_are_a_guess_and_a_fitting_scene_needs_nothing(tmp_path, bundle):
    from crossearth.inference.card import read_card

    card = read_card(bundle)
    hints = needed_options(raster_info(four_bands(tmp_path / 'a.tif')), card)
    assert hints[0].option == '--bands 1,2,3'
    assert 'guess' in hints[0].reason
    fitting = write_raster(tmp_path / 'b.tif', rgb(9, 9))
    assert needed_options(raster_info(fitting), card) == []
    swapped = write_raster(tmp_path / 'c.tif', rgb(9, 9))
    with open_raster(swapped, 'r+') as file:
        file.descriptions = ('B', 'G', 'R')
    assert [hint.option for hint in needed_options(raster_info(swapped), card)] == ['--bands 3,2,1']


@pytest.mark.parametrize(('values', 'expected'), [
    (np.linspace(0, 2000, 1000), (0, 2000)),
    (np.linspace(0, 0.93, 1000), (0, 0.92)),
    (np.linspace(-5, 123, 1000), (-5, 130)),
    (np.zeros(1000), (0, 1)),
    (np.full(1000, np.nan), (0, 1)),
])
def test_a_typical_range_is_round_and_leaves_outliers_out(tmp_path, values, expected):
    data = np.broadcast_to(values.astype(np.float32).reshape(1, 20, 50), (3, 20, 50))
    info = raster_info(write_raster(tmp_path / 'a.tif', data))
    assert typical_range(info) == pytest.approx(expected)
