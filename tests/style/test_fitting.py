# SPDX-License-Identifier: Apache-2.0
"""Fitting style statistics: the numbers, the stream of files, damage, interruption and resuming."""

import itertools
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from crossearth_style_fakes import fake_nets
from PIL import Image

from crossearth.errors import ConfigError, DataError, MissingDependencyError
from crossearth.style import fitting
from crossearth.style.field_images import SIDE, evenly, image_files, read_small
from crossearth.style.fitting import fit_statistics
from crossearth.style.statistics import StyleStatistics


@pytest.fixture
def folder(tmp_path):
    """Twelve images of one colour each, in two folders; the colours as well."""
    colours = np.random.default_rng(0).integers(0, 256, (12, 3), np.uint8)
    root = tmp_path / 'field'
    for index, colour in enumerate(colours):
        path = root / f'climate{index // 6}' / f'{index:02d}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (20, 30 + index), tuple(int(c) for c in colour)).save(path)
    return root, colours / 255


def fit(roots, output, **options):
    arguments = {'dataset': 'Field', 'batch': 3, **options}
    return fit_statistics(roots, output, fake_nets(), **arguments)


def test_mean_and_covariance_of_all_images(folder, tmp_path):
    root, colours = folder
    result = fit([root], tmp_path / 's.safetensors')
    saved = StyleStatistics.load(tmp_path / 's.safetensors')
    np.testing.assert_allclose(saved.mean, colours.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(saved.covariance, np.cov(colours.T), atol=1e-6)
    assert (saved.count, saved.dataset, result.skipped) == (12, 'Field', 0)
    assert saved.sources == (str(root),)
    assert saved.predictor_sha256 == fake_nets().sha256
    assert list(tmp_path.glob('s.safetensors*')) == [tmp_path / 's.safetensors']


def test_limit_takes_evenly_from_all_folders(folder, tmp_path):
    root, colours = folder
    saved = fit([root], tmp_path / 's.safetensors', limit=4).statistics
    assert saved.count == 4
    np.testing.assert_allclose(saved.mean, colours[[2, 5, 8, 11]].mean(axis=0), atol=1e-6)


@pytest.mark.parametrize(('total', 'number'), [(10, 10), (10, 1), (7, 3), (1000, 999), (5, 0)])
def test_evenly_gives_the_number_wanted(total, number):
    chosen = list(evenly(range(total), total, number))
    assert len(chosen) == number
    gaps = [b - a for a, b in itertools.pairwise(chosen)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_files_come_in_the_order_of_names_and_other_files_are_left(tmp_path):
    for name in ('b/2.PNG', 'b/1.jpg', 'a/z/1.tif', 'a/note.txt', 'c.png', 'c.png.aux.xml'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files = image_files([tmp_path / 'c.png', tmp_path])
    names = [path.relative_to(tmp_path).as_posix() for path in files]
    assert names == ['c.png', 'c.png', 'a/z/1.tif', 'b/1.jpg', 'b/2.PNG']


# ---------------------------------------------------------------------------------------- damage

def damage(root):
    (root / 'climate0' / '03.png').write_bytes(b'\x89PNG broken')
    (root / 'climate1' / '07.png').write_bytes(b'')
    Image.new('I;16', (8, 8)).save(root / 'climate1' / '08.png')
    return [3, 7, 8]


def test_unreadable_files_are_counted_listed_and_left_out(folder, tmp_path):
    root, colours = folder
    bad = damage(root)
    result = fit([root], tmp_path / 's.safetensors')
    np.testing.assert_allclose(
        result.statistics.mean, np.delete(colours, bad, axis=0).mean(axis=0), atol=1e-6)
    assert (result.statistics.count, result.skipped) == (9, 3)
    lines = result.log.read_text().splitlines()
    assert [Path(line.split('\t')[0]).name for line in lines] == ['03.png', '07.png', '08.png']
    assert 'Cannot decode' in lines[0]
    assert 'uint16' in lines[2]


def test_nothing_readable(tmp_path):
    for name in 'ab':
        (tmp_path / f'{name}.png').write_text('x')
    with pytest.raises(DataError, match=r'0 of 2 images could be read.*skipped\.txt'):
        fit([tmp_path], tmp_path / 's.safetensors')
    assert not (tmp_path / 's.safetensors').exists()


@pytest.mark.parametrize(('content', 'message'), [
    (None, 'there is no folder or image'), ('a.txt', r'no images in .*\.png')])
def test_no_images(content, message, tmp_path):
    root = tmp_path / 'images'
    if content:
        root.mkdir()
        (root / content).touch()
    with pytest.raises(DataError, match=message):
        fit([root], tmp_path / 's.safetensors')


def test_few_images_are_warned_about(folder, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(fitting, 'print_log', lambda message, *_: said.append(message))
    fit([folder[0]], tmp_path / 'enough.safetensors', limit=4)
    assert said == []
    fit([folder[0]], tmp_path / 'few.safetensors', limit=3)
    assert '3 images give a covariance of rank 2 for embeddings of 3 entries' in said[0]


def test_existing_output_is_not_overwritten(folder, tmp_path):
    (tmp_path / 's.safetensors').write_text('precious')
    with pytest.raises(ConfigError, match=r'exists already\. Delete it'):
        fit([folder[0]], tmp_path / 's.safetensors')
    assert (tmp_path / 's.safetensors').read_text() == 'precious'


# ------------------------------------------------------------------------------------- resuming

@pytest.fixture
def interrupted(folder, tmp_path):
    """A fit that is stopped after nine of twelve images, the last state saved after six."""
    root, _ = folder
    damage(root)

    def stop(done):
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit([root], tmp_path / 's.safetensors', save_every=6, on_batch=stop)
    assert not (tmp_path / 's.safetensors').exists()
    return root, tmp_path / 's.safetensors'


def test_resumed_fit_equals_an_unbroken_one(interrupted, tmp_path):
    root, output = interrupted
    # as if it had been killed after it logged, and before it saved
    with output.with_name('s.safetensors.skipped.txt').open('a') as log:
        log.write('07.png\tlogged but not saved\n')
    started = []
    resumed = fit([root], output, save_every=6, on_start=lambda *job: started.append(job))
    unbroken = fit([root], tmp_path / 'other.safetensors')
    assert started == [(12, 6)]
    assert torch.equal(resumed.statistics.mean, unbroken.statistics.mean)
    assert torch.equal(resumed.statistics.covariance, unbroken.statistics.covariance)
    assert resumed.skipped == unbroken.skipped == 3
    assert resumed.log.read_text() == unbroken.log.read_text()
    assert not list(tmp_path.glob('*.state'))


@pytest.mark.parametrize('change', ['another limit', 'more images', 'damaged state'])
def test_state_of_another_job_is_refused(interrupted, change):
    root, output = interrupted
    options = {}
    match change:
        case 'another limit':
            options['limit'] = 11
        case 'more images':
            shutil.copy(root / 'climate0' / '00.png', root / 'new.png')
        case 'damaged state':
            state = output.with_name('s.safetensors.state')
            state.write_bytes(state.read_bytes()[:50])
    with pytest.raises(ConfigError, match=r's\.safetensors\.state .*[Dd]elete (it|the file)'):
        fit([root], output, **options)


# ----------------------------------------------------------------------------------------- files

def test_small_images_are_rgb_squares(tmp_path):
    Image.new('RGB', (500, 300), (10, 20, 200)).save(tmp_path / 'a.png')
    small = read_small(tmp_path / 'a.png')
    assert small.shape == (SIDE, SIDE, 3)
    assert (small == (10, 20, 200)).all()


@pytest.fixture
def geotiff(tmp_path):
    rasterio = pytest.importorskip('rasterio', reason='needs the extra `geo`')
    transform = rasterio.transform.from_origin(0, 0, 1, 1)

    def write(bands, dtype='uint8'):
        path = tmp_path / 'scene.tif'
        values = 10 * np.arange(1, bands + 1, dtype=dtype)[:, None, None]
        with rasterio.open(path, 'w', 'GTiff', 600, 400, bands, dtype=dtype,
                           crs='EPSG:32633', transform=transform) as scene:
            scene.write(np.broadcast_to(values, (bands, 400, 600)))
        return path

    return write


@pytest.mark.parametrize(('bands', 'expected'), [(4, (10, 20, 30)), (1, (10, 10, 10))])
def test_geotiff_gives_its_first_three_bands(geotiff, bands, expected):
    small = read_small(geotiff(bands))
    assert small.shape == (SIDE, SIDE, 3)
    assert (small == expected).all()


def test_geotiff_of_16_bits_or_damaged(geotiff):
    with pytest.raises(DataError, match=r'scene\.tif holds uint16 values, 8-bit is expected'):
        read_small(geotiff(3, 'uint16'))
    path = geotiff(3)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r'rasterio cannot read .*scene\.tif: '):
        read_small(path)


def test_geotiff_without_rasterio(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'rasterio', None)
    (tmp_path / 'scene.tif').touch()
    with pytest.raises(MissingDependencyError, match=r"pip install 'crossearth\[geo\]'"):
        fit([tmp_path], tmp_path / 's.safetensors')
