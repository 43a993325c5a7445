# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.features import rasterize, shapes
from rasters import HALF_METRE, UTM, write_raster, zone

from crossearth.errors import MissingDependencyError, RasterError
from crossearth.inference import vectorize as vectorize_module
from crossearth.inference.polygons import Band, patches, weigh
from crossearth.inference.vectorize import vectorize

pyogrio = pytest.importorskip('pyogrio')
shapely = pytest.importorskip('shapely', minversion='2.1')

CLASSES = {'classes': '0=water, 1=built, up, 2=forest'}
LABELS = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 255])))


def blobs(height, width, seed=0):
    """A map with smooth borders, of four classes or three and no data."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 4
    waves = sum(np.sin(a * x + b * y + c) for a, b, c in rng.normal(0, 1, (5, 3)))
    return np.uint8([0, 1, 255, 2])[np.digitize(waves, [-1.5, 0, 1.5])]


def write_map(path, label, **options):
    return write_raster(path, label[None], **{'nodata': 255, 'tags': CLASSES, **options})


def read(path):
    """CRS, polygons and attributes of a vector file."""
    meta, _, wkb, columns = pyogrio.raw.read(path)
    return meta['crs'], shapely.from_wkb(wkb), dict(zip(meta['fields'], columns, strict=True))


def points(shapes):
    return shapely.get_num_coordinates(shapes).sum()


def in_bands(label, rows, values=None):
    return [Band(first, label[first:first + rows],
                 None if values is None else values[first:first + rows])
            for first in range(0, len(label), rows)]


def same_form(class_id, polygon):
    return class_id, shapely.normalize(polygon).wkb


@settings(deadline=None, max_examples=150)
@given(LABELS, st.integers(1, 9))
def test_bands_give_the_polygons_of_the_whole_map(label, rows):
    whole = Counter(
        same_form(int(value), shapely.geometry.shape(geometry))
        for geometry, value in shapes(label, mask=label != 255, connectivity=4))
    found = list(patches(in_bands(label, rows)))
    assert Counter(same_form(patch.class_id, patch.polygon) for patch in found) == whole
    assert all(patch.polygon.is_valid for patch in found)
    for number in (0, 1, 2):
        area = sum(patch.polygon.area for patch in found if patch.class_id == number)
        assert area == (label == number).sum()


@settings(deadline=None, max_examples=60)
@given(LABELS, st.integers(1, 9), st.integers(0, 99))
def test_sums_over_a_polygon_are_those_over_its_pixels(label, rows, seed):
    rng = np.random.default_rng(seed)
    values, weights = rng.integers(0, 101, label.shape, np.uint8), rng.random(len(label))
    above = np.concatenate([[0], np.cumsum(weights)])
    for patch in patches(in_bands(label, rows, values)):
        inside = rasterize([patch.polygon], label.shape).astype(bool)
        assert patch.total == values[inside].sum()
        assert weigh(patch.polygon, above) == pytest.approx((inside * weights[:, None]).sum())


def test_a_polygon_is_let_go_as_soon_as_no_band_can_touch_it():
    label = np.uint8([[0, 1], [1, 1], [2, 2], [2, 2]])
    taken = []

    def bands():
        for band in in_bands(label, 1):
            taken.append(band.first)
            yield band

    assert [(patch.class_id, taken[-1]) for patch in patches(bands())] == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize('ending', ['.gpkg', '.fgb', '.geojson'])
def test_a_file_holds_all_polygons_with_class_area_colour_and_confidence(
        tmp_path, monkeypatch, ending):
    monkeypatch.setattr(vectorize_module, 'BAND_PIXELS', 30 * 7)
    monkeypatch.setattr(vectorize_module, 'PIECE', 2)  # a GeoPackage is written in pieces
    label = blobs(50, 30)
    percent = np.where(label == 255, 255, np.arange(30, dtype=np.uint8)[None]).astype(np.uint8)
    confidence = write_raster(tmp_path / 'c.tif', percent[None], nodata=255)
    report = vectorize(
        write_map(tmp_path / 'map.tif', label), tmp_path / f'map{ending}', confidence=confidence,
        palette=[[0, 0, 255], [255, 0, 0], [0, 128, 0]])
    crs, found, columns = read(tmp_path / f'map{ending}')
    assert crs == ('EPSG:4326' if ending == '.geojson' else UTM)
    assert len(found) == sum(report.polygons.values()) > 3
    names = {0: 'water', 1: 'built, up', 2: 'forest'}
    for number, name in names.items():
        mine = columns['class_id'] == number
        assert set(columns['class'][mine]) == {name}
        assert len(set(columns['color'][mine])) == 1
        area = (label == number).sum() / 4
        assert columns['area_m2'][mine].sum() == report.areas[name] == area
        mean = np.average(columns['confidence'][mine], weights=columns['area_m2'][mine])
        assert mean == pytest.approx(percent[label == number].mean())
        if ending != '.geojson':
            assert shapely.area(found[mine]).sum() == pytest.approx(area)
            burnt = rasterize(found[mine], label.shape, transform=HALF_METRE)
            np.testing.assert_array_equal(burnt, label == number)
    assert columns['color'][columns['class_id'] == 2][0] == '#008000'
    assert {p.name for p in tmp_path.iterdir()} == {'map.tif', 'c.tif', f'map{ending}'}


def test_geojson_is_that_of_rfc_7946(tmp_path):
    label = np.full((8, 8), 1, np.uint8)
    label[2:4, 2:4] = 0
    vectorize(write_map(tmp_path / 'map.tif', label), tmp_path / 'map.geojson')
    content = json.loads((tmp_path / 'map.geojson').read_text())
    assert 'crs' not in content  # always WGS 84
    for feature in content['features']:
        outline, *holes = feature['geometry']['coordinates']
        assert shapely.is_ccw(shapely.LinearRing(outline))  # the right-hand rule
        assert not any(shapely.is_ccw(shapely.LinearRing(hole)) for hole in holes)
        assert all(38.9 < x < 39.1 and 9 < y < 9.1 for x, y in outline)


@pytest.mark.parametrize('transform', [
    HALF_METRE * Affine.rotation(30), Affine(2, 0, 1e5, 0, 2, 5e5), Affine(1, 0.4, 9, 0.1, -3, 7)])
def test_any_affine_transform_is_kept(tmp_path, transform):
    label = blobs(20, 30)
    vectorize(write_map(tmp_path / 'map.tif', label, transform=transform), tmp_path / 'map.fgb')
    _, found, columns = read(tmp_path / 'map.fgb')
    for number in (0, 1, 2):
        mine = columns['class_id'] == number
        in_pixels = shapely.transform(
            found[mine], lambda xy: np.round(np.stack(~transform * tuple(xy.T), 1), 6))
        np.testing.assert_array_equal(rasterize(in_pixels, label.shape), label == number)
        np.testing.assert_allclose(shapely.area(found[mine]), columns['area_m2'][mine], rtol=1e-6)


def test_areas_of_a_geographic_map_shrink_towards_the_poles(tmp_path):
    label = np.zeros((100, 10), np.uint8)
    label[50:] = 1
    path = write_map(tmp_path / 'map.tif', label, crs='EPSG:4326',
                     transform=Affine(0.01, 0, 10, 0, -0.01, 60.5))
    areas = vectorize(path, tmp_path / 'map.gpkg').areas
    for name, south in (('water', 60), ('built, up', 59.5)):
        assert areas[name] == pytest.approx(0.1 * zone(south, south + 0.5), rel=1e-6)


@pytest.mark.parametrize('tolerance', [0.4, 1.0, 3.0])
def test_simplified_neighbours_share_their_borders(tmp_path, tolerance):
    label = blobs(60, 60)
    label[label == 255] = 3
    path = write_map(tmp_path / 'map.tif', label, tags={})
    vectorize(path, tmp_path / 'all.gpkg')
    vectorize(path, tmp_path / 'few.gpkg', simplify=tolerance)
    _, exact, _ = read(tmp_path / 'all.gpkg')
    _, simple, columns = read(tmp_path / 'few.gpkg')
    assert points(simple) < 0.9 * points(exact)
    assert shapely.coverage_is_valid(simple)  # neither gaps nor overlaps
    assert shapely.area(simple).sum() == pytest.approx(shapely.union_all(simple).area)
    assert columns['area_m2'].sum() == label.size / 4  # of the pixels, whatever became of corners
    for before, after in zip(exact, simple, strict=True):
        assert before.hausdorff_distance(after) < 4 * tolerance


def test_small_polygons_are_left_out_and_counted(tmp_path):
    label = np.zeros((10, 10), np.uint8)
    label[1, 1], label[5:7, 5:7] = 1, 2  # 0.25 and 1 square metres
    path = write_map(tmp_path / 'map.tif', label)
    report = vectorize(path, tmp_path / 'map.gpkg', min_area=1.0)
    assert (report.polygons, report.dropped) == ({'water': 1, 'built, up': 0, 'forest': 1}, 1)
    assert len(read(tmp_path / 'map.gpkg')[1]) == 2


@pytest.mark.parametrize('options', [
    {'crs': None}, {'crs': None, 'transform': Affine.identity()},
    {'crs': 'EPSG:4326', 'transform': Affine.identity(), 'gcps': [
        GroundControlPoint(0, 0, 30, 10), GroundControlPoint(0, 9, 31, 10),
        GroundControlPoint(9, 0, 30, 9)]}])
def test_a_map_without_a_place_needs_permission(tmp_path, options):
    path = write_map(tmp_path / 'map.tif', np.zeros((10, 10), np.uint8), **options)
    with pytest.raises(RasterError, match='--allow-no-crs'):
        vectorize(path, tmp_path / 'map.gpkg')
    report = vectorize(path, tmp_path / 'map.gpkg', allow_no_crs=True)
    assert (report.unit, report.areas['water']) == ('px', 100)
    crs, (polygon,), columns = read(tmp_path / 'map.gpkg')
    assert crs in (None, 'Undefined Cartesian SRS') or 'Undefined' in crs
    placed = options.get('transform') is None
    assert polygon.bounds == ((500_000, 999_995, 500_005, 1_000_000) if placed else (0, 0, 10, 10))
    assert columns['area_px'] == 100


def test_names_and_colours_come_from_the_map(tmp_path):
    from crossearth.inference.writer import Grid, RasterWriter

    label = np.uint8([[0, 1], [255, 1]])
    grid = Grid(2, 2, None, HALF_METRE)
    with RasterWriter(tmp_path / 'map.tif', grid, colors=[[0, 0, 255], [255, 0, 10]],
                      tags={'classes': '0=a, 1=b'}) as writer:
        writer.write(0, label)
    vectorize(tmp_path / 'map.tif', tmp_path / 'map.gpkg', allow_no_crs=True)
    columns = read(tmp_path / 'map.gpkg')[2]
    assert dict(zip(columns['class'], columns['color'], strict=True)) == {
        'a': '#0000ff', 'b': '#ff000a'}
    bare = write_map(tmp_path / 'bare.tif', label, tags={})
    assert vectorize(bare, tmp_path / 'bare.gpkg').polygons == {'class 0': 1, 'class 1': 1}
    with pytest.raises(RasterError, match='holds the class 1, and only 1 classes'):
        vectorize(bare, tmp_path / 'c.gpkg', classes=['a'])


@pytest.mark.parametrize('ending', ['.gpkg', '.fgb', '.geojson'])
def test_a_map_without_any_class_gives_an_empty_file(tmp_path, ending):
    path = write_map(tmp_path / 'map.tif', np.full((5, 5), 255, np.uint8))
    assert sum(vectorize(path, tmp_path / f'map{ending}').polygons.values()) == 0
    assert len(read(tmp_path / f'map{ending}')[1]) == 0


def test_what_is_no_map_or_no_output_is_refused(tmp_path):
    path = write_map(tmp_path / 'map.tif', np.zeros((4, 4), np.uint8))
    image = write_raster(tmp_path / 'rgb.tif', np.zeros((3, 4, 4), np.uint8))
    other = write_raster(tmp_path / 'other.tif', np.zeros((1, 4, 5), np.uint8))
    out = tmp_path / 'map.gpkg'
    for source, options, message in (
            (image, {}, 'not a map of classes: it has 3 bands'),
            (path, {'confidence': other}, 'does not lie on the grid'),
            (path, {'simplify': -1}, 'must not be negative')):
        with pytest.raises(RasterError, match=message):
            vectorize(source, out, **options)
    with pytest.raises(RasterError, match=r'\.gpkg, \.geojson, \.fgb'):
        vectorize(path, tmp_path / 'map.shp')
    out.write_bytes(b'older')
    with pytest.raises(RasterError, match='--overwrite'):
        vectorize(path, out)
    vectorize(path, out, overwrite=True)
    assert len(read(out)[1]) == 1


@pytest.mark.parametrize('ending', ['.gpkg', '.fgb', '.geojson'])
def test_a_failure_leaves_nothing_and_keeps_an_older_file(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(vectorize_module, 'BAND_PIXELS', 60 * 5)
    monkeypatch.setattr(vectorize_module, 'PIECE', 2)
    label = blobs(60, 60)
    label[-1] = 9  # no such class: found in the last band, after pieces were written
    path, out = write_map(tmp_path / 'map.tif', label), tmp_path / f'out{ending}'
    out.write_bytes(b'older')
    with pytest.raises(RasterError, match='class 9'):
        vectorize(path, out, overwrite=True)
    assert out.read_bytes() == b'older'
    assert {p.name for p in tmp_path.iterdir()} == {'map.tif', f'out{ending}'}


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    path = write_map(tmp_path / 'map.tif', np.zeros((4, 4), np.uint8))
    (tmp_path / 'file').write_bytes(b'')
    with pytest.raises(RasterError, match='cannot be written'):
        vectorize(path, tmp_path / 'file' / 'out.gpkg')


FULL_DISK = """
import resource, signal, sys
from crossearth.errors import RasterError
from crossearth.inference.vectorize import vectorize
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
try:
    vectorize(*sys.argv[1:])
except RasterError as error:
    print(error)
"""


@pytest.mark.parametrize('ending', ['.gpkg', '.fgb', '.geojson'])
def test_a_full_disk_leaves_nothing(tmp_path, ending):
    pytest.importorskip('resource')
    noise = np.random.default_rng(0).integers(0, 3, (80, 80), np.uint8)
    path = write_map(tmp_path / 'map.tif', noise)
    done = subprocess.run([sys.executable, '-c', FULL_DISK, path, tmp_path / f'out{ending}'],
                          capture_output=True, text=True, check=True)
    assert 'cannot be written' in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ['map.tif']


def test_missing_packages_are_named(tmp_path, monkeypatch):
    path = write_map(tmp_path / 'map.tif', np.zeros((4, 4), np.uint8))
    monkeypatch.delattr(shapely, 'coverage_simplify')
    with pytest.raises(MissingDependencyError, match=r'shapely 2\.1 or newer'):
        vectorize(path, tmp_path / 'map.gpkg', simplify=1)
    for name in ('pyogrio', 'shapely'):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingDependencyError, match=rf'{name}.*crossearth\[geo\]'):
            vectorize(path, tmp_path / 'map.gpkg')
