# SPDX-License-Identifier: Apache-2.0
"""`crossearth predict` as it is typed; what each option does is tested with its own module."""

import json
import shutil

import numpy as np
import pytest
import rasterio
from file_server import serve_apart
from inference.bundles import tiny_bundle
from inference.rasters import HALF_METRE, UTM, rgb, write_raster

from crossearth.cli.main import main
from crossearth.inference.raster import RasterReader
from crossearth.inference.scene import SceneOptions, load_model, predict, predict_scene

pytestmark = pytest.mark.filterwarnings('ignore::rasterio.errors.NotGeoreferencedWarning')


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp('bundle'))


@pytest.fixture
def scene(tmp_path):
    return write_raster(tmp_path / 'scene.tif', rgb(100, 150))


def run(*arguments: object) -> int:
    return main(['predict', *map(str, arguments)])


def label(path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def test_one_scene_its_plan_its_areas_and_its_files(scene, bundle, tmp_path, capsys):
    out = tmp_path / 'new' / 'map.tif'
    assert run(scene, '-m', bundle, '-o', out, '--confidence', tmp_path / 'c.tif') == 0
    lines = capsys.readouterr().out.splitlines()
    assert '150 x 100 px of 0.5 m, 6 tiles' in lines[0]
    assert 'memory' in lines[1]
    assert 'free' in lines[1]
    rows = [line.split() for line in lines[2:]]
    assert ['class', '%', 'km2'] in rows
    assert sum(float(row[1]) for row in rows if row[0] in ('water', 'built', 'forest')
               ) == pytest.approx(100, abs=0.2)
    assert lines[-3:] == [f'-> {out}', f'-> {out.with_suffix(".qml")} (style)',
                          f'-> {tmp_path / "c.tif"} (confidence)']
    predict(scene, bundle, tmp_path / 'python.tif')
    np.testing.assert_array_equal(label(out), label(tmp_path / 'python.tif'))
    with rasterio.open(out) as file:
        assert file.tags()['model_sha256'] == load_model(bundle, device='cpu').card.sha256
        assert file.tags()['source'] == 'scene.tif'


def test_one_bad_scene_of_many_does_not_stop_the_others(scene, bundle, tmp_path, capsys):
    folder = tmp_path / 'scenes'
    folder.mkdir()
    for name in ('a.tif', 'c.tif'):
        shutil.copy(scene, folder / name)
    (folder / 'b.tif').write_text('no raster')
    (folder / 'notes.txt').write_text('not looked at')
    assert run(folder, '-m', bundle, '-o', tmp_path / 'maps', '--scores', tmp_path / 'maps',
               '--json') == 1
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert [entry['source'] for entry in report['scenes']] == [
        str(folder / 'a.tif'), str(folder / 'c.tif')]
    assert [entry['source'] for entry in report['failed']] == [str(folder / 'b.tif')]
    assert 'cannot be opened' in report['failed'][0]['error']
    assert said.err.rstrip().endswith(f'1 of 3 scenes failed:\n  {folder / "b.tif"}')
    assert sorted(file.name for file in (tmp_path / 'maps').glob('*.tif')) == [
        'a.scores.tif', 'a.tif', 'c.scores.tif', 'c.tif']


def test_a_lone_bad_scene_is_an_error(bundle, tmp_path, capsys):
    (tmp_path / 'bad.tif').write_text('no raster')
    assert run(tmp_path / 'bad.tif', '-m', bundle, '-o', tmp_path / 'map.tif') == 2
    said = capsys.readouterr().err
    assert said.startswith('error: ')
    assert 'cannot be opened' in said
    assert said.count('\n') == 1


def test_a_scene_behind_an_address_gives_the_map_of_the_file(scene, bundle, tmp_path, capsys):
    signed = '/scene.tif?key=secret'
    with serve_apart(dict.fromkeys(['/scene.tif', signed], scene.read_bytes())) as root:
        assert run(f'{root}/scene.tif', '-m', bundle, '-o', tmp_path / 'remote.tif') == 0
        assert run(root + signed, '-m', bundle, '-o', tmp_path / 'maps') == 0
        capsys.readouterr()
        assert run(f'{root}/absent.tif', '-m', bundle, '-o', tmp_path / 'none.tif') == 2
    assert f'{root}/absent.tif cannot be opened' in capsys.readouterr().err
    assert not (tmp_path / 'none.tif').exists()
    with rasterio.open(tmp_path / 'maps' / 'scene.tif') as file:
        assert file.tags()['source'] == 'scene.tif'  # a map is passed on, a key is not
    predict(scene, bundle, tmp_path / 'local.tif')
    np.testing.assert_array_equal(label(tmp_path / 'remote.tif'), label(tmp_path / 'local.tif'))


def test_a_folder_resumes_by_skipping_what_is_finished(scene, bundle, tmp_path, capsys):
    patterns = str(tmp_path / '*.tif')
    maps = tmp_path / 'maps'
    shutil.copy(scene, tmp_path / 'other.tif')
    assert run(scene, '-m', bundle, '-o', maps, '--resume') == 0
    before = (maps / 'scene.tif').stat().st_mtime_ns
    assert run(patterns, '-m', bundle, '-o', maps, '--resume', '--json') == 0
    said = capsys.readouterr().out
    report = json.loads(said[said.index('{'):])
    assert [entry.get('skipped', False) for entry in report['scenes']] == [False, True]
    assert (maps / 'scene.tif').stat().st_mtime_ns == before
    assert run(patterns, '-m', bundle, '-o', maps) == 1  # not without --resume or --overwrite
    other = tiny_bundle(tmp_path / 'other', licence='MIT')
    card = json.loads((other / 'card.json').read_text())
    assert run(scene, '-m', other, '-o', maps / 'scene.tif', '--resume') == 0  # the same weights
    (maps / 'foreign.tif').write_bytes(scene.read_bytes())
    assert run(scene, '-m', other, '-o', maps / 'foreign.tif', '--resume') == 2
    assert 'not made by this model' in capsys.readouterr().err
    assert card['licence'] == 'MIT'


def test_options_reach_the_reader_and_the_network(bundle, tmp_path):
    data = np.random.default_rng(0).integers(0, 3000, (4, 90, 90)).astype(np.uint16)
    scene = write_raster(tmp_path / 'scene.tif', data, photometric='minisblack')
    assert run(scene, '-m', bundle, '-o', tmp_path / 'a.tif', '--bands', '4,1,2', '--scale', '3000',
               '--tile', 70, '--overlap', 10, '--batch', 1, '--tta', 'd4', '--device', 'cpu') == 0
    predict_scene(scene, load_model(bundle, device='cpu', tta='d4'), tmp_path / 'b.tif',
                  SceneOptions(bands=[4, 1, 2], scale=(0, 3000), tile=70, overlap=10, batch=1))
    np.testing.assert_array_equal(label(tmp_path / 'a.tif'), label(tmp_path / 'b.tif'))
    assert run(scene, '-m', bundle, '-o', tmp_path / 'c.tif', '--bands', '4,1,2', '--scale', '3000',
               '--gsd', '1', '--cog') == 0
    with rasterio.open(tmp_path / 'c.tif') as file:
        assert file.shape == (45, 45)
        assert file.tags(ns='IMAGE_STRUCTURE')['LAYOUT'] == 'COG'


def test_an_area_of_interest_in_another_coordinate_system(scene, bundle, tmp_path):
    pytest.importorskip('pyogrio', reason='needs the extra geo')
    from rasterio.warp import transform as reproject

    corners = [HALF_METRE * (col, row) for col, row in ((20, 30), (90, 30), (90, 70), (20, 70))]
    xs, ys = reproject(UTM, 'EPSG:4326', *zip(*corners, strict=True))
    ring = [*zip(xs, ys, strict=True), (xs[0], ys[0])]
    area = tmp_path / 'area.geojson'
    area.write_text(json.dumps({'type': 'FeatureCollection', 'features': [
        {'type': 'Feature', 'properties': {}, 'geometry': {
            'type': 'Polygon', 'coordinates': [ring]}}]}))
    assert run(scene, '-m', bundle, '-o', tmp_path / 'map.tif', '--aoi', area) == 0
    with rasterio.open(tmp_path / 'map.tif') as file:
        origin = ~HALF_METRE * (file.transform * (0, 0))
        assert origin == pytest.approx((20, 30), abs=1)
        mapped = (file.read(1) != 255).sum()
    assert mapped == pytest.approx(70 * 40, rel=0.03)


@pytest.mark.parametrize(('text', 'message'), [
    ('{"type": "FeatureCollection", "features": []}', 'holds no polygon'),
    ('nothing of the kind', 'cannot be read as a vector file'),
    (None, 'There is no area of interest'),
])
def test_an_area_of_interest_that_is_none(scene, bundle, tmp_path, capsys, text, message):
    pytest.importorskip('pyogrio', reason='needs the extra geo')
    area = tmp_path / 'area.geojson'
    if text is not None:
        area.write_text(text)
    assert run(scene, '-m', bundle, '-o', tmp_path / 'map.tif', '--aoi', area) == 2
    assert message in capsys.readouterr().err


def test_polygons_come_with_the_map(scene, bundle, tmp_path):
    pyogrio = pytest.importorskip('pyogrio', reason='needs the extra geo')
    vector = tmp_path / 'map.gpkg'
    arguments = (scene, '-m', bundle, '-o', tmp_path / 'map.tif', '--vector', vector)
    assert run(*arguments, '--confidence', tmp_path / 'c.tif') == 0
    info = pyogrio.read_info(vector)
    assert info['crs'] == UTM
    assert {'class', 'confidence'} <= set(info['fields'])
    vector.unlink()
    assert run(*arguments, '--resume') == 0  # the map is there, only its polygons are missing
    assert pyogrio.read_info(vector)['features'] == info['features']


@pytest.mark.parametrize(('arguments', 'message'), [
    (['nowhere.tif'], 'no file, folder or match'),
    (['SCENE', '--vector', 'map.shp'], 'no ending of a vector format'),
    (['SCENE', '--gsd', 'fine'], 'neither model, native nor'),
    (['SCENE', '--confidence', 'map.tif'], 'Two outputs would be'),
    (['SCENE', '--overlap', '64'], 'overlap must be smaller'),
    (['SCENE', '--device', 'warp'], '--device warp cannot be used'),
    (['SCENE', '--bands', '1,2'], 'names 2'),
])
def test_errors_are_one_paragraph_that_says_what_to_do(
    scene, bundle, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    arguments = [str(scene) if part == 'SCENE' else part for part in arguments]
    assert run(*arguments, '-m', bundle, '-o', 'map.tif') == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'map.tif').exists()


@pytest.mark.parametrize('wrong', [['--bands', 'red'], ['--scale', '1,2,3'], ['--tile', '0'],
                                   ['--on-bad-tile', 'maybe'], ['--tta', 'd8']])
def test_wrong_values_are_refused_by_the_parser(scene, bundle, capsys, wrong):
    assert run(scene, '-m', bundle, '-o', 'map.tif', *wrong) == 2
    assert wrong[0] in capsys.readouterr().err


def test_an_output_is_never_a_scene(scene, bundle, tmp_path, capsys):
    assert run(scene, '-m', bundle, '-o', scene, '--overwrite') == 2
    assert 'is the scene itself' in capsys.readouterr().err
    assert RasterReader(scene).info.count == 3
    shutil.copy(scene, tmp_path / 'scene.tiff')
    assert run(scene, tmp_path / 'scene.tiff', '-m', bundle, '-o', tmp_path / 'maps') == 2
    assert 'would both become' in capsys.readouterr().err


def test_the_model_says_that_pixels_are_of_another_size(bundle, tmp_path, capsys):
    scene = write_raster(tmp_path / 'scene.tif', rgb(80, 80),
                         transform=HALF_METRE * HALF_METRE.scale(0.25))
    assert run(scene, '-m', bundle, '-o', tmp_path / 'a.tif') == 0
    assert 'Try --gsd model' in capsys.readouterr().out
    assert run(scene, '-m', bundle, '-o', tmp_path / 'b.tif', '--gsd', 'model') == 0
    assert 'Try --gsd' not in capsys.readouterr().out
    assert label(tmp_path / 'b.tif').shape == (20, 20)


def test_the_help_reads_like_a_manual(capsys):
    assert run('--help') == 0
    text = capsys.readouterr().out
    for part in ('crossearth predict scene.tif', '--on-bad-tile', 'how a scene is read', '130'):
        assert part in text
