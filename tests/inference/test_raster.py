# SPDX-License-Identifier: Apache-2.0
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from inference.rasters import HALF_METRE, UTM, rgb, write_raster
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp

from crossearth.errors import RasterError
from crossearth.inference.raster import RasterReader, raster_info
from crossearth.inference.tiling import Window, plan_rows


def whole(reader: RasterReader) -> Window:
    return Window(0, 0, reader.height, reader.width)


def test_windows_hold_the_pixels_of_the_file(tmp_path):
    data = rgb(40, 50)
    reader = RasterReader(write_raster(tmp_path / 'a.tif', data))
    tile = reader.read(Window(7, 11, 20, 30))
    np.testing.assert_array_equal(tile.image, data[:, 7:27, 11:41])
    assert tile.image.dtype == np.uint8
    assert tile.valid.all()


def test_a_header_is_described(tmp_path):
    info = raster_info(write_raster(tmp_path / 'a.tif', rgb(4, 6), tags={'AREA_OR_POINT': 'Point'}))
    assert (info.driver, info.count, info.dtype, info.nodata) == ('GTiff', 3, 'uint8', None)
    assert info.grid.crs.to_string() == UTM
    assert info.grid.transform == HALF_METRE
    assert info.grid.area_or_point == 'Point'
    assert info.gsd_m == pytest.approx(0.5)
    assert info.warnings == ()


@pytest.mark.parametrize(('crs', 'transform', 'expected'), [
    (UTM, HALF_METRE * Affine.rotation(30), 0.5),
    ('EPSG:4326', Affine(1e-5, 0, 37, 0, -1e-5, 60), 1.113 * 0.5**0.5),  # cos 60 degrees = 1/2
    ('EPSG:2263', Affine(1, 0, 9e5, 0, 1, 2e5), 0.3048),                 # feet, south up
])
def test_the_size_of_a_pixel_on_the_ground(tmp_path, crs, transform, expected):
    path = write_raster(tmp_path / 'a.tif', rgb(4, 4), crs=crs, transform=transform)
    assert raster_info(path).gsd_m == pytest.approx(expected, rel=2e-3)


def test_missing_georeferencing_is_said(tmp_path):
    bare = write_raster(tmp_path / 'a.tif', rgb(4, 4), crs=None, transform=Affine.identity())
    assert 'in pixels' in raster_info(bare).warnings[0]
    placed = write_raster(tmp_path / 'b.tif', rgb(4, 4), crs=None)
    assert 'no coordinate system' in raster_info(placed).warnings[0]
    points = [GroundControlPoint(0, 0, 37, 60), GroundControlPoint(0, 4, 37.001, 60),
              GroundControlPoint(4, 0, 37, 59.999)]
    tied = write_raster(tmp_path / 'c.tif', rgb(4, 4), crs='EPSG:4326', gcps=points,
                        transform=Affine.identity())
    info = raster_info(tied)
    assert 'control points' in info.warnings[0]
    assert len(info.grid.gcps) == 3
    assert info.gsd_m == pytest.approx(0.001 / 4 * 111_320 * 0.5**0.5, rel=1e-2)


@pytest.mark.parametrize('kind', ['value', 'nan', 'mask', 'alpha'])
def test_pixels_without_data_are_found_and_become_zero(tmp_path, kind):
    holes = np.random.default_rng(1).random((20, 30)) < 0.3
    data = rgb(20, 30)
    options, path = {}, tmp_path / 'a.tif'
    if kind == 'value':
        data[:, holes] = 0
        options['nodata'] = 0
    elif kind == 'nan':
        data = data.astype(np.float32)
        data[1, holes] = np.nan
        data[2, 3, 3] = np.inf
        holes[3, 3] = True
    elif kind == 'mask':
        options['mask'] = ~holes
    else:
        data = np.concatenate([data, np.where(holes, 0, 255)[None].astype(np.uint8)])
        options['photometric'] = 'rgb'
    write_raster(path, data, **options)
    if kind == 'alpha':
        with rasterio.open(path, 'r+') as file:
            file.colorinterp = [*file.colorinterp[:3], ColorInterp.alpha]
    reader = RasterReader(path, scale=(0, 255) if kind == 'nan' else None)
    tile = reader.read(whole(reader))
    np.testing.assert_array_equal(tile.valid, ~holes)
    assert np.isfinite(tile.image).all()
    assert (tile.image[:, holes] == 0).all()
    np.testing.assert_allclose(tile.image[:, ~holes], data[:3, ~holes], rtol=1e-6)


def test_a_value_of_no_data_in_one_band_only_is_data(tmp_path):
    data = rgb(5, 5)
    data[0, 2, 2] = 0
    reader = RasterReader(write_raster(tmp_path / 'a.tif', data, nodata=0))
    assert reader.read(whole(reader)).valid.all()


def test_bands_are_chosen_in_the_models_order(tmp_path):
    data = np.arange(1, 5, dtype=np.uint8)[:, None, None] * np.ones((4, 3, 3), np.uint8)
    path = write_raster(tmp_path / 'a.tif', data, photometric='minisblack')
    tile = RasterReader(path, bands=[4, 1, 2]).read(Window(0, 0, 3, 3))
    assert tile.image[:, 0, 0].tolist() == [4, 1, 2]
    with pytest.raises(RasterError, match=r'3 bands \(R, G, B\).*has 4 of type uint8.*--bands'):
        RasterReader(path)
    with pytest.raises(RasterError, match=r'names \[5\]'):
        RasterReader(path, bands=[1, 2, 5])
    with pytest.raises(RasterError, match='names 2'):
        RasterReader(path, bands=[1, 2])


def test_values_are_scaled_alike_in_every_tile(tmp_path):
    data = np.random.default_rng(0).integers(0, 4000, (3, 10, 10)).astype(np.uint16)
    data[:, :5] = 700  # a tile of one value stays what it is
    path = write_raster(tmp_path / 'a.tif', data)
    tile = RasterReader(path, scale=(100, 3100)).read(Window(0, 0, 5, 10))
    np.testing.assert_allclose(tile.image, 51, rtol=1e-6)
    reader = RasterReader(path, scale=(100, 3100))
    expected = np.clip((data.astype(float) - 100) * 255 / 3000, 0, 255)
    np.testing.assert_allclose(reader.read(whole(reader)).image, expected, rtol=1e-5, atol=1e-4)
    with pytest.raises(RasterError, match=r'uint16 values.*--scale'):
        RasterReader(path)
    with pytest.raises(RasterError, match='no range'):
        RasterReader(path, scale=(5, 5))


def test_a_coarser_grid_averages_and_keeps_the_extent(tmp_path):
    data = np.repeat(np.repeat(rgb(8, 12), 4, 1), 4, 2)
    path = write_raster(tmp_path / 'a.tif', data)
    reader = RasterReader(path, gsd_m=2.0)
    assert (reader.height, reader.width) == (8, 12)
    tile = reader.read(Window(2, 3, 5, 6))
    np.testing.assert_array_equal(tile.image, data[:, ::4, ::4][:, 2:7, 3:9])
    assert reader.grid.transform * (12, 8) == pytest.approx(HALF_METRE * (48, 32))
    with pytest.raises(RasterError, match='no pixel size'):
        RasterReader(path, gsd_m=-1)
    bare = write_raster(tmp_path / 'b.tif', data, crs=None, transform=Affine.identity())
    with pytest.raises(RasterError, match='Leave --gsd out'):
        RasterReader(bare, gsd_m=2.0)


def test_pixels_outside_the_area_of_interest_are_no_data(tmp_path):
    data = rgb(40, 40)
    path = write_raster(tmp_path / 'a.tif', data)
    left, top = HALF_METRE * (10, 10)
    right, bottom = HALF_METRE * (20, 30)
    square = {'type': 'Polygon', 'coordinates': [
        [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]]}
    reader = RasterReader(path, aoi=[square])
    assert (reader.height, reader.width) == (20, 10)  # the rest is not worked through
    assert reader.grid.transform * (0, 0) == (left, top)
    tile = reader.read(whole(reader))
    assert tile.valid.all()
    np.testing.assert_array_equal(tile.image, data[:, 10:30, 10:20])
    corner = {'type': 'Polygon', 'coordinates': [
        [(left, top), (right, top), (left, bottom), (left, top)]]}
    tile = RasterReader(path, aoi=[corner], gsd_m=1.0).read(Window(0, 0, 10, 5))
    assert tile.valid[0].all()
    assert tile.valid.sum() == pytest.approx(25, abs=3)
    for nothing in ([], [{**square, 'coordinates': [[(0, 0), (1, 0), (1, 1), (0, 0)]]}]):
        with pytest.raises(RasterError, match=r'does not touch .*a\.tif'):
            RasterReader(path, aoi=nothing)
    bare = write_raster(tmp_path / 'b.tif', data, crs=None, transform=Affine.identity())
    with pytest.raises(RasterError, match='no georeferencing'):
        RasterReader(bare, aoi=[square])


def test_an_area_of_interest_in_a_raster_of_control_points(tmp_path):
    data = rgb(40, 40)
    points = [GroundControlPoint(row, col, 37 + col / 1000, 60 - row / 1000)
              for row in (0, 40) for col in (0, 40)]
    path = write_raster(tmp_path / 'a.tif', data, crs='EPSG:4326', gcps=points,
                        transform=Affine.identity())
    square = {'type': 'Polygon', 'coordinates': [
        [(37.01, 59.99), (37.02, 59.99), (37.02, 59.97), (37.01, 59.97), (37.01, 59.99)]]}
    reader = RasterReader(path, aoi=[square])
    first = reader.grid.gcps[0]
    assert (reader.height, reader.width, first.row, first.col) == (20, 10, -10, -10)
    np.testing.assert_array_equal(reader.read(whole(reader)).image, data[:, 10:30, 10:20])


def test_threads_and_pickles_open_the_file_anew(tmp_path):
    data = rgb(64, 64)
    reader = pickle.loads(pickle.dumps(RasterReader(write_raster(tmp_path / 'a.tif', data))))
    windows = [w for band in plan_rows(64, 64, 16, 0) for w in band] * 8
    with ThreadPoolExecutor(8) as pool:
        for window, tile in zip(windows, pool.map(reader.read, windows), strict=True):
            np.testing.assert_array_equal(
                tile.image, data[:, window.row:window.row + 16, window.col:window.col + 16])


def truncated(path, data):
    write_raster(path, data, tiled=True, blockxsize=64, blockysize=64)
    path.write_bytes(path.read_bytes()[:-9000])
    return path


def test_fault_19_a_truncated_file_is_found_before_the_run(tmp_path):
    reader = RasterReader(truncated(tmp_path / 'a.tif', rgb(256, 256)))
    with pytest.raises(RasterError, match=r'a\.tif: rows 240 to 255.*truncated or damaged'):
        reader.preflight()


def test_fault_19_bad_tiles_can_be_left_empty_and_are_counted(tmp_path):
    data = rgb(256, 256)
    reader = RasterReader(truncated(tmp_path / 'a.tif', data), on_bad_tile='nodata')
    good = reader.read(Window(0, 0, 64, 64))
    np.testing.assert_array_equal(good.image, data[:, :64, :64])
    assert not reader.read(Window(192, 192, 64, 64)).valid.any()
    assert len(reader.bad_tiles) == 1


def test_files_that_are_no_rasters_or_name_others_are_refused(tmp_path):
    (tmp_path / 'a.tif').write_text('no raster')
    with pytest.raises(RasterError, match='cannot be opened'):
        raster_info(tmp_path / 'a.tif')
    target = write_raster(tmp_path / 'b.tif', rgb(4, 4))
    vrt = tmp_path / 'c.tif'  # a VRT under another name reads any file it names
    vrt.write_text(f'<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" '
                   f'band="1"><SimpleSource><SourceFilename>{target}</SourceFilename><SourceBand>1'
                   '</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>')
    with pytest.raises(RasterError, match='cannot be opened'):
        raster_info(vrt)
    for address in ('https://127.0.0.1:9/a.tif', '/vsicurl/http://127.0.0.1:9/a.tif',
                    'GTIFF_DIR:1:' + str(target), str(tmp_path / 'absent.tif')):
        with pytest.raises(RasterError, match='There is no raster'):
            raster_info(address)
