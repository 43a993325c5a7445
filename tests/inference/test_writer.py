# SPDX-License-Identifier: Apache-2.0
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rasterio import Affine
from rasterio import open as open_raster
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from crossearth.errors import RasterError
from crossearth.inference.writer import Grid, RasterWriter, write_style

CLASSES, PALETTE = ('water', 'built <up> & "roads"'), [[0, 0, 255], [255, 0, 0]]


def labels(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).choice(np.uint8([0, 1, 255]), (height, width))


def write(path: Path, grid: Grid, label: np.ndarray, rows: int, **options) -> None:
    with RasterWriter(path, grid, colors=PALETTE, **options) as writer:
        for first in range(0, len(label), rows):
            writer.write(first, label[first:first + rows])


@pytest.mark.parametrize(('height', 'width', 'rows'), [(1, 1, 1), (1030, 7, 300), (512, 600, 512),
                                                       (700, 513, 1)])
def test_what_is_written_is_read_back(tmp_path, height, width, rows):
    label = labels(height, width)
    rotated = Affine(0.5, 0.1, 1e5, 0.1, -0.5, 2e6)
    grid = Grid(height, width, CRS.from_epsg(32637), rotated, area_or_point='Point')
    write(tmp_path / 'map.tif', grid, label, rows, tags={'classes': 'water'})
    with open_raster(tmp_path / 'map.tif') as file:
        np.testing.assert_array_equal(file.read(1), label)
        assert file.transform == rotated
        assert file.crs.to_epsg() == 32637
        assert (file.nodata, file.dtypes, file.count) == (255, ('uint8',), 1)
        assert file.profile['compress'] == 'deflate'
        assert file.block_shapes == [(512, 512)]
        assert file.tags()['AREA_OR_POINT'] == 'Point'
        assert file.tags()['classes'] == 'water'
        assert file.colormap(1)[1] == (255, 0, 0, 255)
        assert file.colormap(1)[255][3] == 0
    assert [p.name for p in tmp_path.iterdir()] == ['map.tif']


def test_ground_control_points_are_kept(tmp_path):
    points = [GroundControlPoint(0, 0, 30, 10), GroundControlPoint(0, 9, 31, 10),
              GroundControlPoint(9, 0, 30, 9)]
    grid = Grid(10, 10, CRS.from_epsg(4326), gcps=points)
    write(tmp_path / 'map.tif', grid, labels(10, 10), 10)
    with open_raster(tmp_path / 'map.tif') as file:
        kept, crs = file.gcps
        assert [(p.row, p.col, p.x, p.y) for p in kept] == [
            (p.row, p.col, p.x, p.y) for p in points]
        assert crs.to_epsg() == 4326


def test_a_cog_is_valid_and_has_overviews(tmp_path):
    label = labels(1500, 1100)
    write(tmp_path / 'map.tif', Grid(1500, 1100), label, 400, cog=True)
    with open_raster(tmp_path / 'map.tif') as file:
        assert file.tags(ns='IMAGE_STRUCTURE')['LAYOUT'] == 'COG'
        assert file.overviews(1)
        np.testing.assert_array_equal(file.read(1), label)
        assert file.colormap(1)[0] == (0, 0, 255, 255)
        assert set(np.unique(file.read(1, out_shape=(375, 275)))) <= {0, 1, 255}  # no mixed classes
    assert [p.name for p in tmp_path.iterdir()] == ['map.tif']


def test_several_bands_have_names(tmp_path):
    scores = np.random.default_rng(0).integers(0, 101, (2, 30, 20), np.uint8)
    with RasterWriter(tmp_path / 's.tif', Grid(30, 20), bands=CLASSES) as writer:
        writer.write(0, scores)
    with open_raster(tmp_path / 's.tif') as file:
        assert file.descriptions == CLASSES
        np.testing.assert_array_equal(file.read(), scores)


def test_an_interrupted_run_leaves_nothing_and_keeps_an_older_map(tmp_path):
    path = tmp_path / 'map.tif'
    path.write_bytes(b'older')

    def interrupted() -> None:
        with RasterWriter(path, Grid(2000, 30), overwrite=True) as writer:
            writer.write(0, labels(1200, 30))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b'older'
    assert [p.name for p in tmp_path.iterdir()] == ['map.tif']


def test_an_existing_map_is_not_replaced_unasked(tmp_path):
    (tmp_path / 'map.tif').write_bytes(b'older')
    with pytest.raises(RasterError, match='--overwrite'):
        RasterWriter(tmp_path / 'map.tif', Grid(2, 2))


def test_missing_rows_and_wrong_order_are_bugs_of_the_caller(tmp_path):
    with (pytest.raises(ValueError, match='start at 5, expected 0'),
          RasterWriter(tmp_path / 'a.tif', Grid(10, 10)) as writer):
        writer.write(5, labels(5, 10))
    with (pytest.raises(ValueError, match='0 of 10 rows'),
          RasterWriter(tmp_path / 'b.tif', Grid(10, 10)) as writer):
        writer.write(0, labels(5, 10))
    assert not list(tmp_path.iterdir())


FULL_DISK = '''
import resource, signal, sys
import numpy as np
from crossearth.inference.writer import Grid, RasterWriter
from crossearth.errors import RasterError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
noise = np.random.default_rng(0).integers(0, 255, (2048, 2048), np.uint8)
try:
    with RasterWriter(sys.argv[1], Grid(2048, 2048)) as writer:
        writer.write(0, noise)
except RasterError as error:
    print(error)
'''


@pytest.mark.skipif(not hasattr(resource, 'RLIMIT_FSIZE'), reason='needs a limit on file sizes')
def test_a_full_disk_leaves_nothing_and_says_how_much_is_missing(tmp_path):
    done = subprocess.run([sys.executable, '-c', FULL_DISK, tmp_path / 'map.tif'],
                          capture_output=True, text=True, check=True)
    assert 'cannot be written' in done.stdout
    assert 'needs up to 4 MB' in done.stdout
    assert not list(tmp_path.iterdir())


def test_the_style_names_every_class(tmp_path):
    from xml.etree import ElementTree

    style = write_style(tmp_path / 'map.tif', CLASSES, PALETTE)
    entries = ElementTree.parse(style).findall('.//paletteEntry')
    assert [(e.get('value'), e.get('label'), e.get('color')) for e in entries] == [
        ('0', 'water', '#0000ff'), ('1', CLASSES[1], '#ff0000')]
