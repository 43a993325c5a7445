# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
import rasterio
from inference.bundles import coloured_tiles as tiles
from inference.bundles import described_bundle
from inference.rasters import write_raster
from PIL import Image

from crossearth.cli import main

STYLE = 'reinhard_lab'  # needs no weights


@pytest.fixture(autouse=True)
def _small(monkeypatch, tmp_path):
    monkeypatch.setattr(main, 'COMMANDS', ('gap',))
    # no pre-trained weights, whatever lies on this machine
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.delenv('CROSSEARTH_WEIGHTS', raising=False)
    monkeypatch.setenv('COLUMNS', '200')


def folder(path, images):
    path.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image.transpose(1, 2, 0)).save(path / f'{index:02}.png')
    return path


def run(*args):
    return main.main(['gap', *map(str, args)])


@pytest.fixture
def reference(tmp_path):
    return folder(tmp_path / 'train', tiles(40, 0))


@pytest.fixture
def bundle(tmp_path):
    return described_bundle(tmp_path / 'bundle')


def test_a_folder_tells_like_from_unlike(reference, tmp_path, capsys):
    alike = folder(tmp_path / 'alike', tiles(20, 1))
    unlike = folder(tmp_path / 'unlike', tiles(20, 2, tint=(120, 0, -40)))
    found = []
    for scenes in (alike, unlike):
        assert run(scenes, '--reference', reference, '--style', STYLE, '--tile', 64, '--json') == 0
        out, err = capsys.readouterr()
        found.append(json.loads(out))
        assert 'features left out' in err  # the backbone's weights are not there
    near, far = (result['all'] for result in found)
    assert near['verdict'] == 'like the training domain'
    assert near['style']['outside'] < 0.5
    assert far['verdict'].startswith('farther than')
    assert far['style']['outside'] == 1
    assert far['style']['tiles'] == 20
    assert found[1]['scenes'][0]['source'] == str(unlike / '00.png')


def test_a_bundle_compares_by_style_and_features(bundle, tmp_path, capsys):
    scene = write_raster(tmp_path / 'scene.tif', np.concatenate(list(tiles(4, 3)), axis=2))
    heat = tmp_path / 'heat.tif'
    assert run(scene, '-m', bundle, '--heatmap', heat, '--device', 'cpu') == 0
    text = capsys.readouterr().out
    assert 'compared with dry' in text
    assert 'style shift' in text
    assert 'features shift' in text
    assert '<- here' in text
    assert f'-> {heat} (heat map)' in text
    with rasterio.open(heat) as file:
        assert file.shape == (1, 4)
        assert (file.read(1) < 255).all()


def test_a_bundle_without_its_style_predictor_compares_by_features(bundle, tmp_path, capsys):
    card = json.loads((bundle / 'card.json').read_text())
    card['statistics']['style_kind'] = 'magenta'
    (bundle / 'card.json').write_text(json.dumps(card))
    scene = write_raster(tmp_path / 'scene.tif', tiles(1, 3)[0])
    assert run(scene, '-m', bundle) == 0
    text = capsys.readouterr().out
    assert 'Styles are left out' in text
    assert 'verdict (features)' in text
    assert 'style shift' not in text


def test_a_limit_and_a_scene_without_data(bundle, tmp_path, capsys):
    scenes = tmp_path / 'scenes'
    scenes.mkdir()
    wide = np.concatenate(list(tiles(6, 3)), axis=2)
    write_raster(scenes / 'a.tif', np.zeros_like(wide), nodata=0)
    write_raster(scenes / 'b.tif', wide, nodata=0)
    assert run(scenes, '-m', bundle, '--tiles', 4, '--json') == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert 'a.tif is left out: there is no tile with data' in err
    assert [entry['style']['tiles'] for entry in result['scenes']] == [2]
    assert run(scenes / 'a.tif', '-m', bundle) == 2
    assert 'no tile with data' in capsys.readouterr().err


@pytest.mark.parametrize(('change', 'args', 'message'), [
    ({}, ['--style', 'jackson'], 'Leave --style out'),
    ({}, ['--tiles', '0'], 'must be positive'),
    ({'style_sha256': 'ab'}, [], 'another style predictor'),
    (None, [], 'no statistics of its training domain'),
])
def test_what_cannot_be_compared_is_refused(bundle, tmp_path, capsys, change, args, message):
    card = json.loads((bundle / 'card.json').read_text())
    card['statistics'] = {} if change is None else card['statistics'] | change
    (bundle / 'card.json').write_text(json.dumps(card))
    scene = write_raster(tmp_path / 'scene.tif', tiles(1, 3)[0])
    assert run(scene, '-m', bundle, *args) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_any_network_is_refused(reference, capsys):
    assert run(reference, '--reference', reference) == 2
    assert 'magenta' in capsys.readouterr().err


def test_one_training_side_is_needed(reference, capsys):
    assert run(reference) == 2
    assert '--reference' in capsys.readouterr().err
