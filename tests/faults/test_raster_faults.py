# SPDX-License-Identifier: Apache-2.0
"""Faults 20 to 27: what comes with real rasters, disks and machines, through the whole scene."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import namedtuple
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import rasterio
from inference.bundles import CARD, tiny_bundle
from inference.rasters import HALF_METRE, rgb, write_raster
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp

from crossearth.errors import RasterError
from crossearth.inference.card import Card
from crossearth.inference.predictor import Predictor
from crossearth.inference.scene import SceneOptions, load_model, predict_scene

TESTS = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings('ignore::rasterio.errors.NotGeoreferencedWarning')


class Pixelwise:
    """The class of a pixel is its largest band; notes what it was given."""

    def __init__(self) -> None:
        self.tiles = 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        assert np.isfinite(images).all()
        assert images.min() >= 0
        assert images.max() <= 255
        self.tiles += len(images)
        return images + 1  # also where all bands are 0


def run(path: Path, out: Path, scorer=None, **options):
    predictor = Predictor(scorer or Pixelwise(), 3, Card(**deepcopy(CARD), sha256='0' * 64))
    return predict_scene(path, predictor, out, SceneOptions(
        **{'tile': 64, 'overlap': 16, **options}))


def run_python(code: str, *arguments: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-c', code, *map(str, arguments)], capture_output=True, text=True,
        timeout=300, check=False, env=environment(), **options)


def environment() -> dict[str, str]:
    paths = [str(TESTS), str(TESTS.parent), os.environ.get('PYTHONPATH', '')]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(paths), 'OMP_NUM_THREADS': '1'}


# ------------------------------------------------------------------------- 20 georeferencing

POINTS = [GroundControlPoint(0, 0, 37, 60), GroundControlPoint(0, 70, 37.001, 60),
          GroundControlPoint(70, 0, 37, 59.999)]


@pytest.mark.parametrize(('options', 'warning'), [
    ({'crs': None}, 'no coordinate system'),
    ({'crs': None, 'transform': Affine.identity()}, 'in pixels'),
    ({'crs': 'EPSG:4326', 'transform': Affine.identity(), 'gcps': POINTS}, 'control points'),
    ({'transform': HALF_METRE * Affine.rotation(30) * Affine.shear(5)}, ''),
    ({'transform': Affine(2, 0, 9e5, 0, 2, 1e6)}, ''),  # south up
    ({'crs': 'EPSG:4326', 'transform': Affine(1e-5, 0, 37, 0, -1e-5, 60)}, ''),
])
def test_fault_20_the_map_lies_where_the_raster_lies(tmp_path, options, warning):
    path = write_raster(tmp_path / 'in.tif', rgb(70, 70), **options)
    report = run(path, tmp_path / 'out.tif', gsd='native')
    with rasterio.open(path) as given, rasterio.open(tmp_path / 'out.tif') as made:
        assert made.crs == given.crs
        assert made.transform == given.transform
        points = [[(p.row, p.col, p.x, p.y) for p in file.gcps[0]] for file in (given, made)]
        assert points[0] == points[1]
    said = [text for text in report.warnings if '--gsd' not in text]
    assert len(said) == bool(warning)
    assert warning in ' '.join(said)


def test_fault_20_polygons_need_a_coordinate_system(tmp_path):
    path = write_raster(tmp_path / 'in.tif', rgb(70, 70), crs=None, transform=Affine.identity())
    scorer = Pixelwise()
    with pytest.raises(RasterError, match='--allow-no-crs'):
        run(path, tmp_path / 'out.tif', scorer, vector=tmp_path / 'out.gpkg')
    assert scorer.tiles == 0  # said before the work, not after
    assert [file.name for file in tmp_path.iterdir()] == ['in.tif']


# ------------------------------------------------------------------------- 21 no data

@pytest.mark.parametrize('kind', ['zero', '-9999', 'nan', 'mask', 'alpha'])
def test_fault_21_the_map_has_no_data_exactly_where_the_raster_has_none(tmp_path, kind):
    holes = np.random.default_rng(1).random((200, 130)) < 0.3
    holes[:130, :] = True  # whole tiles of it
    data, options, reading = rgb(200, 130), {}, {}
    if kind == 'zero':
        data[:, holes], options = 0, {'nodata': 0}
    elif kind in ('-9999', 'nan'):
        data = data.astype(np.float32)
        data[:, holes] = float(kind)
        options, reading = {'nodata': float(kind)}, {'scale': (0, 255)}
    elif kind == 'mask':
        options = {'mask': ~holes}
    else:
        data = np.concatenate([data, np.where(holes, 0, 255)[None].astype(np.uint8)])
        options = {'photometric': 'rgb'}
    path = write_raster(tmp_path / 'in.tif', data, **options)
    if kind == 'alpha':
        with rasterio.open(path, 'r+') as file:
            file.colorinterp = [*file.colorinterp[:3], ColorInterp.alpha]
    scorer = Pixelwise()
    report = run(path, tmp_path / 'out.tif', scorer, **reading)
    with rasterio.open(tmp_path / 'out.tif') as file:
        label = file.read(1)
    np.testing.assert_array_equal(label == 255, holes)
    best = np.take_along_axis(data[:3], np.where(holes, 0, label)[None].astype(int), 0)[0]
    np.testing.assert_array_equal(best[~holes], data[:3].max(0)[~holes])
    assert scorer.tiles < report.tiles  # those without any data were skipped
    assert report.pixels['no data'] == holes.sum()


# ------------------------------------------------------------------------- 23 bands and values

@pytest.mark.parametrize(('bands', 'dtype', 'message'), [
    (1, np.uint8, r'3 bands \(R, G, B\).*1 of type uint8.*--bands'),
    (4, np.uint16, r'3 bands \(R, G, B\).*4 of type uint16.*--bands'),
    (8, np.float32, r'3 bands .*8 of type float32.*--bands'),
    (3, np.uint16, r'uint16 values.*--scale'),
    (3, np.int16, r'int16 values.*--scale'),
    (3, np.float32, r'float32 values.*--scale'),
])
def test_fault_23_what_does_not_fit_the_model_is_refused_with_the_option(
    tmp_path, bands, dtype, message
):
    path = write_raster(tmp_path / 'in.tif', np.ones((bands, 20, 20), dtype))
    with pytest.raises(RasterError, match=message):
        run(path, tmp_path / 'out.tif')


def test_fault_23_a_tile_is_never_normalised_by_its_own_content(tmp_path):
    data = np.full((3, 64, 192), 700, np.uint16)
    data[:, :, 128:] = np.random.default_rng(0).integers(0, 5000, (3, 64, 64))
    seen = []

    def scorer(images: np.ndarray) -> np.ndarray:
        seen.extend(images)
        return images + 1

    run(write_raster(tmp_path / 'in.tif', data), tmp_path / 'out.tif', scorer, overlap=0,
        scale=(200, 1200))
    np.testing.assert_allclose(seen[0], 127.5, rtol=1e-6)
    np.testing.assert_allclose(
        seen[2], np.clip((data[:, :, 128:] - 200.0) * 0.255, 0, 255), atol=1e-3)


# ------------------------------------------------------------------------- 24 profiles

@pytest.mark.parametrize('options', [
    {'dtype': 'int16', 'nodata': -9999},
    {'compress': 'jpeg', 'photometric': 'ycbcr', 'tiled': True, 'blockxsize': 64, 'blockysize': 64},
    {'dtype': 'uint16', 'nbits': 12},
    {'photometric': 'rgb', 'interleave': 'pixel', 'tags': {'AREA_OR_POINT': 'Point'}},
], ids=['int16 nodata', 'jpeg', '12 bit', 'point'])
def test_fault_24_the_profile_of_the_map_is_its_own(tmp_path, options):
    data = np.repeat(rgb(80, 5), 14, 2).astype(options.get('dtype', 'uint8'))
    path = write_raster(tmp_path / 'in.tif', data, **options)
    run(path, tmp_path / 'out.tif', scale=(0, 255) if 'dtype' in options else None)
    with rasterio.open(tmp_path / 'out.tif') as file:
        assert (file.driver, file.dtypes, file.nodata) == ('GTiff', ('uint8',), 255)
        assert file.profile['compress'] == 'deflate'
        assert file.block_shapes == [(512, 512)]
        assert file.colorinterp == (ColorInterp.palette,)
        assert file.colormap(1)[2] == (0, 128, 0, 255)
        assert file.tags()['classes'] == '0=water, 1=built, 2=forest'
        assert file.tags().get('AREA_OR_POINT', 'Area') == (
            'Point' if 'tags' in options else 'Area')
        assert file.transform == HALF_METRE
        if 'compress' not in options:  # JPEG changes colours
            best = np.take_along_axis(data, file.read(1)[None].astype(int), 0)[0]
            np.testing.assert_array_equal(best, data.max(0))


# ------------------------------------------------------------------------- 25 ends

SLOW = """
import sys, time
import numpy as np
from crossearth.cli.main import main
from crossearth.inference.bundle import TorchScorer
call = TorchScorer.__call__
TorchScorer.__call__ = lambda self, images: (time.sleep(0.1), call(self, images))[1]
sys.exit(main(sys.argv[1:]))
"""


def start(*arguments: object) -> subprocess.Popen:
    """The command with a network that takes its time."""
    return subprocess.Popen(
        [sys.executable, '-c', SLOW, 'predict', *map(str, arguments)], env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for(condition, process: subprocess.Popen) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope='module')
def bundle(tmp_path_factory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp('bundle'))


def test_fault_25_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path, bundle):
    path = write_raster(tmp_path / 'in.tif', rgb(1500, 100), nodata=7)
    out, journal = tmp_path / 'out.tif', tmp_path / 'out.tif.resume'
    process = start(path, '-m', bundle, '-o', out, '--resume', '--scores', tmp_path / 's.tif',
                    '--overlap', 40)  # more than half: three bands touch a row
    wait_for(lambda: len(list(journal.glob('rows_*.npz'))) >= 3, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    assert not (tmp_path / 's.tif').exists()

    options = {'overlap': 40, 'resume': True}
    counts = []
    predictor = load_model(bundle, device='cpu')
    predict_scene(path, predictor, out, SceneOptions(**options, scores=tmp_path / 's.tif'),
                  progress=lambda done, total: counts.append((done, total)))
    assert counts[0][0] > 2 * 3 - 3  # not from the top
    assert counts[-1][0] == counts[-1][1]
    whole = tmp_path / 'whole'
    predict_scene(path, predictor, whole / 'out.tif',
                  SceneOptions(overlap=40, scores=whole / 's.tif'))
    for name in ('out.tif', 's.tif'):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()
    assert not journal.exists()


def test_fault_25_rows_of_another_run_are_not_reused(tmp_path):
    path = write_raster(tmp_path / 'in.tif', rgb(400, 60))

    class Dies(Pixelwise):
        def __call__(self, images: np.ndarray) -> np.ndarray:
            if self.tiles > 4:
                raise KeyboardInterrupt
            return super().__call__(images)

    def interrupt(**options) -> None:
        with pytest.raises(KeyboardInterrupt):
            run(path, tmp_path / 'out.tif', Dies(), resume=True, **options)
        assert list((tmp_path / 'out.tif.resume').glob('rows_*.npz'))

    for changes in ({'overlap': 20}, {'batch': 1}, {'scale': (0, 200)}):
        interrupt()
        scorer = Pixelwise()
        report = run(path, tmp_path / 'out.tif', scorer, resume=True, **changes)
        assert scorer.tiles == report.tiles
        (tmp_path / 'out.tif').unlink()


def test_fault_25_damaged_rows_are_made_again(tmp_path):
    path = write_raster(tmp_path / 'in.tif', rgb(400, 60))
    calls = []

    def scorer(images: np.ndarray) -> np.ndarray:
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return images

    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path / 'out.tif', scorer, resume=True)
    parts = sorted((tmp_path / 'out.tif.resume').glob('rows_*.npz'))
    assert len(parts) >= 3
    parts[1].write_bytes(parts[1].read_bytes()[:50])
    run(path, tmp_path / 'out.tif', scorer, resume=True)
    run(path, tmp_path / 'whole.tif', scorer)
    assert (tmp_path / 'out.tif').read_bytes() == (tmp_path / 'whole.tif').read_bytes()


def test_fault_25_ctrl_c_ends_with_130_and_leaves_nothing(tmp_path, bundle):
    path = write_raster(tmp_path / 'in.tif', rgb(3000, 100))
    process = start(path, '-m', bundle, '-o', tmp_path / 'out.tif')
    wait_for((tmp_path / 'out.tif.part').exists, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip().endswith('interrupted')
    assert 'Traceback' not in said
    assert [file.name for file in tmp_path.iterdir()] == ['in.tif']


def test_fault_25_a_short_disk_is_refused_before_the_work(tmp_path, monkeypatch):
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr('shutil.disk_usage', lambda _: usage(10**9, 10**9, 10_000))
    path, scorer = write_raster(tmp_path / 'in.tif', rgb(200, 200)), Pixelwise()
    with pytest.raises(RasterError, match=r'up to 0 MB.*--no-disk-check'):
        run(path, tmp_path / 'out.tif', scorer)
    assert scorer.tiles == 0
    run(path, tmp_path / 'out.tif', scorer, check_disk=False)
    assert (tmp_path / 'out.tif').is_file()


def test_fault_25_an_existing_map_is_left_as_it_is(tmp_path):
    path, scorer = write_raster(tmp_path / 'in.tif', rgb(20, 20)), Pixelwise()
    (tmp_path / 'out.tif').write_bytes(b'older')
    with pytest.raises(RasterError, match='--overwrite'):
        run(path, tmp_path / 'out.tif', scorer)
    assert scorer.tiles == 0
    assert (tmp_path / 'out.tif').read_bytes() == b'older'
    run(path, tmp_path / 'out.tif', scorer, overwrite=True)
    assert scorer.tiles == 1


# ------------------------------------------------------------------------- 27 size

HUGE = """
import json, resource, sys
from pathlib import Path
import numpy as np
import rasterio
from crossearth.inference.card import Card
from crossearth.inference.predictor import Predictor
from crossearth.inference.scene import SceneOptions, predict_scene
side, path, out, aoi = int(sys.argv[1]), *sys.argv[2:4], (sys.argv[4:] or [None])[0]
with rasterio.open(path, 'w', driver='GTiff', width=side, height=side, count=3, dtype='uint8',
                   nodata=0, tiled=True, sparse_ok=True, compress='deflate', bigtiff='yes',
                   crs='EPSG:32637', transform=rasterio.Affine(.5, 0, 5e5, 0, -.5, 1e6)) as file:
    block = np.full((3, 512, 512), 9, np.uint8)
    file.write(block, window=rasterio.windows.Window(side // 2, side // 2, 512, 512))
if aoi:
    import pyogrio, shapely
def peak():  # getrusage would give that of the parent process, if it was higher
    return int(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])
before = peak()
limit = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize() + (2 << 30)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
card = Card(model={'type': 'A'}, classes=['a', 'b', 'c'], palette=[[0, 0, 0]] * 3, crop=[64, 64])
predictor = Predictor(lambda images: images + 1, 3, card)
report = predict_scene(path, predictor, out, SceneOptions(tile=512, overlap=64, aoi=aoi))
print(json.dumps({**report.as_dict(), 'grown_mb': (peak() - before) / 1024}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='needs a limit on the address space')
def test_fault_27_twenty_thousand_pixels_square_fit_into_little_memory(tmp_path):
    done = run_python(HUGE, 20_000, tmp_path / 'in.tif', tmp_path / 'out.tif')
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report['pixels']['no data'] == 20_000**2 - 512**2
    assert report['grown_mb'] < 1500
    assert (tmp_path / 'out.tif').stat().st_size < 5e6


@pytest.mark.skipif(sys.platform != 'linux', reason='needs a limit on the address space')
def test_fault_27_a_small_area_of_a_huge_raster_is_all_that_is_read(tmp_path):
    pytest.importorskip('pyogrio', reason='needs the extra geo')
    left, top = HALF_METRE * (100_000 - 50, 100_000 - 50)
    right, bottom = HALF_METRE * (100_000 + 600, 100_000 + 600)
    (tmp_path / 'aoi.geojson').write_text(json.dumps({
        'type': 'FeatureCollection',
        'crs': {'type': 'name', 'properties': {'name': 'urn:ogc:def:crs:EPSG::32637'}},
        'features': [{'type': 'Feature', 'properties': {}, 'geometry': {
            'type': 'Polygon', 'coordinates': [
                [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]]}}]}))
    done = run_python(
        HUGE, 200_000, tmp_path / 'in.tif', tmp_path / 'out.tif', tmp_path / 'aoi.geojson')
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report['tiles'] == 4
    assert report['pixels']['no data'] == 650**2 - 512**2
    assert report['grown_mb'] < 500
