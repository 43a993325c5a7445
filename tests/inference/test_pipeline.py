# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
import rasterio
from inference.rasters import HALF_METRE, rgb, write_raster, zone
from rasterio import Affine

from crossearth.errors import RasterError
from crossearth.inference.pipeline import PredictOptions, plan, predict_raster
from crossearth.inference.predictor import Predictor
from crossearth.inference.raster import RasterReader
from crossearth.inference.writer import RasterWriter

CLASSES, PALETTE = ('red', 'green', 'blue'), [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def pixelwise(images: np.ndarray) -> np.ndarray:
    return images


def run(path, output, scorer=pixelwise, reader=None, **options):
    return predict_raster(
        reader or RasterReader(path), Predictor(scorer, 3), output, classes=CLASSES,
        palette=PALETTE, options=PredictOptions(**{'tile': 64, 'overlap': 16, **options}))


@pytest.mark.parametrize('size', [(1, 1), (1, 97), (63, 64), (64, 64), (65, 130), (211, 197)])
def test_fault_22_the_map_is_the_best_band_everywhere(tmp_path, size):
    data = rgb(*size)
    report = run(write_raster(tmp_path / 'in.tif', data), tmp_path / 'out.tif')
    with rasterio.open(tmp_path / 'out.tif') as file:
        label = file.read(1)
        assert file.transform == HALF_METRE
        assert file.crs.to_epsg() == 32637
    np.testing.assert_array_equal(
        np.take_along_axis(data, label[None], 0)[0], data.max(0))
    counts = np.bincount(label.ravel(), minlength=3)
    assert report.pixels == {**dict(zip(CLASSES, counts.tolist(), strict=True)), 'no data': 0}
    assert report.square_metres == pytest.approx(
        dict(zip(CLASSES, counts / 4, strict=True)))
    json.dumps(report.as_dict())


def test_areas_of_a_geographic_raster_follow_the_latitude(tmp_path):
    path = write_raster(tmp_path / 'in.tif', np.full((3, 80, 10), 9, np.uint8), crs='EPSG:4326',
                        transform=Affine(1, 0, 0, 0, -1, 80))
    report = run(path, tmp_path / 'out.tif')
    assert sum(report.square_metres.values()) == pytest.approx(10 * zone(0, 80), rel=1e-4)


def test_where_the_map_is_the_other_outputs_are_too(tmp_path, monkeypatch):
    named = []
    publish = RasterWriter._publish
    monkeypatch.setattr(RasterWriter, '_publish', lambda self: (
        named.append(self.path.name), publish(self)))
    run(write_raster(tmp_path / 'in.tif', rgb(20, 30)), tmp_path / 'out.tif',
        confidence=tmp_path / 'c.tif', scores=tmp_path / 's.tif')
    assert sorted(named[:-1]) == ['c.tif', 's.tif']
    assert named[-1] == 'out.tif'


def test_confidence_and_scores_are_shares_in_percent(tmp_path):
    data = rgb(70, 90)
    path = write_raster(tmp_path / 'in.tif', data, nodata=0)
    data[:, 5:20, 8:30] = 0
    write_raster(path, data, nodata=0)
    run(path, tmp_path / 'out.tif', confidence=tmp_path / 'c.tif', scores=tmp_path / 's.tif')
    hole = (data == 0).all(0)
    shares = data / np.maximum(data.sum(0, dtype=float), 1)
    with rasterio.open(tmp_path / 's.tif') as file:
        assert file.descriptions == ('red, %', 'green, %', 'blue, %')
        scores = file.read()
    with rasterio.open(tmp_path / 'c.tif') as file:
        confidence = file.read(1)
    with rasterio.open(tmp_path / 'out.tif') as file:
        assert (file.read(1)[hole] == 255).all()
    assert (confidence[hole] == 255).all()
    assert (scores[:, hole] == 255).all()
    np.testing.assert_allclose(scores[:, ~hole], 100 * shares[:, ~hole], atol=0.51)
    np.testing.assert_allclose(confidence[~hole], 100 * shares.max(0)[~hole], atol=0.51)


class NeighbourNet:
    """Scores that depend on the tile, and memory for `pixels` pixels at once."""

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if images[:, 0].size > self.pixels:
            raise MemoryError
        return images + images.mean((-2, -1), keepdims=True)[:, ::-1]


def test_fault_26_a_small_memory_gives_the_map_of_a_small_tile(tmp_path):
    path = write_raster(tmp_path / 'in.tif', rgb(300, 280))
    said = []
    report = predict_raster(
        RasterReader(path), Predictor(NeighbourNet(64 * 64), 3), tmp_path / 'a.tif',
        classes=CLASSES, palette=PALETTE, options=PredictOptions(tile=256, overlap=64),
        warn=said.append)
    assert report.tile == 64
    assert len(said) == 2
    assert 'tiles of 64 px' in said[-1]
    run(path, tmp_path / 'b.tif', NeighbourNet(10**9), tile=64, overlap=16)
    with rasterio.open(tmp_path / 'a.tif') as a, rasterio.open(tmp_path / 'b.tif') as b:
        np.testing.assert_array_equal(a.read(), b.read())


def test_fault_26_the_ladder_has_a_floor(tmp_path):
    path = write_raster(tmp_path / 'in.tif', rgb(100, 100))
    with pytest.raises(RasterError, match='Not even a tile of 100 px'):
        run(path, tmp_path / 'out.tif', NeighbourNet(10), tile=512, overlap=0)
    assert [p.name for p in tmp_path.iterdir()] == ['in.tif']


def test_fault_25_an_error_in_the_middle_leaves_nothing(tmp_path):
    calls = []

    def dies(images: np.ndarray) -> np.ndarray:
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return images

    path = write_raster(tmp_path / 'in.tif', rgb(600, 200))
    with pytest.raises(KeyboardInterrupt):
        run(path, tmp_path / 'out.tif', dies, confidence=tmp_path / 'c.tif', batch=1)
    assert [p.name for p in tmp_path.iterdir()] == ['in.tif']


def test_the_plan_counts_tiles_and_bytes(tmp_path):
    reader = RasterReader(write_raster(tmp_path / 'in.tif', rgb(100, 300)))
    options = PredictOptions(tile=64, overlap=16, scores='s.tif')
    estimate = plan(reader, 3, tmp_path / 'new' / 'out.tif', options)
    assert estimate.tiles == 2 * 6
    assert estimate.disk_bytes == 4 * 100 * 300
    assert estimate.free_bytes > 0
    wider = plan(RasterReader(write_raster(tmp_path / 'b.tif', rgb(400, 300))), 3,
                 tmp_path / 'out.tif', options)
    assert wider.memory_bytes == estimate.memory_bytes  # it does not grow with the height
