# SPDX-License-Identifier: Apache-2.0
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rasters import HALF_METRE, write_raster
from scipy.linalg import sqrtm
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from crossearth.errors import BundleError, DataError, RasterError
from crossearth.inference.domain import Gap, Reference, frechet_distance
from crossearth.inference.gap import (
    KNOWN_GAPS,
    domain_statistics,
    embed_tiles,
    place,
    read_statistics,
    scene_tiles,
    torch_embedder,
    verdict,
    write_heatmap,
)
from crossearth.inference.raster import RasterReader

RESULTS = Path(__file__).parents[2] / 'benchmarks/accuracy/gap/report.json'


def draw(number, dim=5, seed=0, scale=1.0, shift=0.0):
    generator = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(dim, dim))
    return scale * generator.normal(size=(number, dim)) @ mix + shift


def gap_of(shift):
    return Gap(tiles=9, frechet=1.0, expected=0.1, shift=shift, outside=0.0, reach=1.0)


def means(images):
    return images.mean(axis=(2, 3))


# ------------------------------------------------------------------------- Frechet distance

@pytest.mark.parametrize('number', [4, 40])  # singular and regular covariances
def test_frechet_distance_equals_the_formula_with_scipys_square_root(number):
    a, b = draw(number, 6, 1), draw(number, 6, 2, 2.0, 0.5)
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    difference = a.mean(0) - b.mean(0)
    expected = difference @ difference + np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
    # scipy's root of a singular product is itself only good to about 1e-5
    assert frechet_distance(a.mean(0), ca, b.mean(0), cb) == pytest.approx(expected, rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10_000), st.floats(0.1, 5))
def test_frechet_distance_is_a_symmetric_distance(dim, seed, scale):
    a, b = draw(12, dim, seed), draw(12, dim, seed + 1, scale, 1.0)
    ca, cb = (np.cov(x, rowvar=False).reshape(dim, dim) for x in (a, b))
    there = frechet_distance(a.mean(0), ca, b.mean(0), cb)
    back = frechet_distance(b.mean(0), cb, a.mean(0), ca)
    assert there == pytest.approx(back, rel=1e-6, abs=1e-9)
    assert frechet_distance(a.mean(0), ca, a.mean(0), ca) == pytest.approx(0, abs=1e-6)
    # two normal distributions of one dimension: (difference of means)^2 + (of deviations)^2
    if dim == 1:
        expected = (a.mean() - b.mean())**2 + (a.std(ddof=1) - b.std(ddof=1))**2
        assert there == pytest.approx(expected, rel=1e-6)


# ------------------------------------------------------------------------- a domain

def test_neighbours_are_those_of_sklearn():
    train, scene = draw(50), draw(20, seed=3, shift=1.0)
    reference = Reference.fit(train)
    own = NearestNeighbors(n_neighbors=2).fit(train).kneighbors(train)[0][:, 1]
    nearest = NearestNeighbors(n_neighbors=1).fit(train).kneighbors(scene)[0][:, 0]
    assert reference.radius == pytest.approx(np.quantile(own, 0.95))
    np.testing.assert_allclose(reference.distances(scene), nearest / reference.radius)
    gap = reference.compare(scene)
    assert gap.outside == np.mean(nearest > np.quantile(own, 0.95))
    assert gap.reach == pytest.approx(np.median(nearest) / reference.radius)


@pytest.mark.parametrize('number', [1, 5, 100])
def test_tiles_of_the_domain_itself_have_no_shift_however_few_they_are(number):
    reference = Reference.fit(draw(400))
    inside = [reference.compare(draw(number, seed=seed)) for seed in range(20, 40)]
    outside = reference.compare(draw(number, seed=5, shift=5.0))
    typical = np.median([gap.shift for gap in inside])
    # a random tile lies about as far from the mean as the domain is wide: beyond that is chance
    assert typical < {1: 0.6, 5: 0.3, 100: 0.15}[number]
    assert outside.shift > 3 * max(typical, 0.3)
    assert outside.outside > np.mean([gap.outside for gap in inside])
    # without the correction five tiles of the domain would look as far as a real change
    raw = math.sqrt(inside[0].frechet / np.trace(reference.covariance))
    assert number == 100 or raw > 0.3


def test_shift_does_not_depend_on_the_unit_of_the_vectors():
    train, scene = draw(80), draw(30, seed=2, shift=1.0)
    one, other = (Reference.fit(train * unit).compare(scene * unit) for unit in (1.0, 1000.0))
    assert one.shift == pytest.approx(other.shift)
    assert (one.outside, one.reach) == pytest.approx((other.outside, other.reach))


def test_a_long_domain_keeps_a_bounded_sample():
    reference = Reference.fit(draw(700))
    assert reference.sample.shape == (256, 5)
    assert reference.count == 700


def test_projection_is_pca_and_keeps_the_length_of_what_it_leaves_out():
    train, scene = draw(60, 12), draw(10, 12, seed=4, shift=2.0)
    reference = Reference.fit(train, max_dims=3)
    standard = (train - train.mean(0)) / train.std(0)
    pca = PCA(3).fit(standard)
    moved = (scene - train.mean(0)) / train.std(0)
    own = reference._own(scene)
    np.testing.assert_allclose(np.abs(own[:, :3]), np.abs(pca.transform(moved)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(own, axis=1), np.linalg.norm(moved, axis=1))


def test_a_change_outside_the_training_axes_is_seen():
    train = np.c_[draw(60, 3), 1e-3 * draw(60, 1)]
    scene = train[:20] + np.array([0, 0, 0, 1.0])
    assert Reference.fit(train, max_dims=2).compare(scene).shift > 10


@pytest.mark.parametrize('vectors', [np.ones((1, 3)), np.ones((5, 3)), np.zeros((0, 3))])
def test_tiles_that_are_all_alike_are_refused(vectors):
    with pytest.raises(DataError, match='all alike'):
        Reference.fit(vectors)


def test_copies_are_refused():
    with pytest.raises(DataError, match='copies of each other'):
        Reference.fit(np.repeat(draw(3), 40, axis=0))


# ------------------------------------------------------------------------- the card

def test_statistics_survive_the_card_and_stay_small():
    generator = np.random.default_rng(0)
    tiles = [generator.uniform(0, 255, (3, 8, 8)) for _ in range(300)]
    weights = generator.normal(size=(192, 100)), generator.normal(size=(192, 4096))

    def style(images):
        return images.reshape(len(images), -1) @ weights[0]

    def features(images):
        return images.reshape(len(images), -1) @ weights[1]

    plain = domain_statistics(tiles, style, features, style_kind='magenta', style_sha256='ab')
    text = json.dumps(plain, allow_nan=False)
    assert len(text) < 2_000_000  # of ViT-L's four maps; a card has 4 MB
    found = read_statistics(json.loads(text))
    scene = np.stack(tiles[:9]) / 2
    for kind, embedder, dims in (('style', style, None), ('features', features, 64)):
        before = Reference.fit(embedder(np.stack(tiles)), dims)
        gap, again = before.compare(embedder(scene)), found[kind].compare(embedder(scene))
        assert again.shift == pytest.approx(gap.shift, rel=1e-3)
        assert again.reach == pytest.approx(gap.reach, rel=1e-3)
    assert plain['style_kind'] == 'magenta'


@pytest.mark.parametrize(('change', 'reason'), [
    ({'radius': 0.0}, 'no positive number'),
    ({'radius': '1'}, 'no positive number'),
    ({'mean': {'shape': [2], 'float32': 'AAAAAAAAAAA='}}, 'do not fit'),
    ({'mean': {'shape': [5], 'float32': 'AAAA'}}, 'buffer size|cannot reshape'),
    ({'mean': {'shape': [1], 'float32': 'AADAfw=='}}, 'not finite'),
    ({'mean': {}}, 'float32'),
    ({'surprise': 1}, 'surprise'),
    ({'origin': {'shape': [1], 'float32': 'AAAAAA=='}}, 'part of the projection'),
])
def test_damaged_statistics_are_refused(change, reason):
    plain = {**Reference.fit(draw(20)).to_plain(), **change}
    with pytest.raises(BundleError, match=reason):
        read_statistics({'style': plain})


def test_a_card_without_statistics_says_what_to_do():
    with pytest.raises(BundleError, match='--reference'):
        read_statistics({})


# ------------------------------------------------------------------------- tiles

def test_embedding_keeps_the_order_over_sizes_and_batches():
    generator = np.random.default_rng(0)
    tiles = [generator.uniform(0, 255, (3, side, 8)) for side in (8, 8, 8, 5, 8, 8)]
    found = embed_tiles(tiles, {'style': means}, batch=2)['style']
    np.testing.assert_allclose(found, [tile.mean((1, 2)) for tile in tiles], rtol=1e-5)


def test_embedding_nothing_is_an_error():
    with pytest.raises(DataError, match='no tile with data'):
        embed_tiles([], {'style': means})


def test_a_network_of_torch_becomes_an_embedder():
    images = np.random.default_rng(0).uniform(0, 255, (2, 3, 4, 4)).astype(np.float32)
    levels = images.mean((2, 3))
    np.testing.assert_allclose(torch_embedder(lambda x: x.mean((2, 3)))(images), levels / 255,
                               rtol=1e-5)
    maps = torch_embedder(lambda x: ([x, 2 * x[..., ::2, :]], torch.zeros(7, 5)), [10, 20, 30],
                          [2, 2, 2])(images)
    normal = (images - np.reshape([10, 20, 30], (3, 1, 1))) / 2
    expected = np.c_[normal.mean((2, 3)), 2 * normal[:, :, ::2].mean((2, 3))]
    np.testing.assert_allclose(maps, expected, rtol=1e-4)


@pytest.fixture
def scene(tmp_path):
    """70 x 100 px of four tiles of 50: the third without data, the fourth with a third."""
    data = np.full((3, 70, 100), 100, np.uint8)
    data[0, :, 50:] = 200
    data[:, 20:, :50] = 0
    data[:, 60:, 50:] = 0
    return RasterReader(write_raster(tmp_path / 'scene.tif', data, nodata=0))


def test_tiles_without_data_are_left_out_and_holes_are_filled(scene):
    places, tiles = zip(*scene_tiles(scene, 50), strict=True)
    # the second row of tiles is shifted inside, to row 20
    assert places == ((0, 1), (1, 1))
    assert all(tile.shape == (3, 50, 50) for tile in tiles)
    assert [list(tile.mean((1, 2))) for tile in tiles] == [[200, 100, 100]] * 2


def test_a_limit_takes_tiles_from_everywhere(tmp_path):
    path = write_raster(tmp_path / 'long.tif', np.ones((3, 16, 160), np.uint8))
    places = [place for place, _ in scene_tiles(RasterReader(path), 16, 3)]
    assert places == [(0, 1), (0, 5), (0, 8)]


def test_a_heat_map_lies_on_the_scene(scene, tmp_path):
    path = tmp_path / 'heat.tif'
    write_heatmap(path, scene, 50, [(0, 1), (1, 1)], np.array([0.5, 7.0]))
    with rasterio.open(path) as file:
        assert file.shape == (2, 2)
        assert file.crs == scene.grid.crs
        assert file.transform == HALF_METRE * rasterio.Affine.scale(50)
        assert file.read(1).tolist() == [[255, 50], [255, 254]]
        assert file.dataset_mask().tolist() == [[0, 255], [0, 255]]
        colors = file.colormap(1)
    assert colors[100] == (255, 255, 255, 255)
    assert colors[0][2] == 255
    assert colors[254] == (255, 0, 0, 255)
    with pytest.raises(RasterError, match='--overwrite'):
        write_heatmap(path, scene, 50, [(0, 1)], np.array([0.5]))


# ------------------------------------------------------------------------- the scale

@pytest.mark.parametrize('kind', ['style', 'features'])
def test_verdict_is_the_nearest_known_gap(kind):
    scale = sorted((getattr(known, kind), known.name) for known in KNOWN_GAPS)
    assert verdict(gap_of(scale[0][0]), kind) == 'like the training domain'
    assert verdict(gap_of(scale[-1][0] + 1), kind) == f'farther than {scale[-1][1]}'
    for value, name in scale[1:]:
        assert verdict(gap_of(value), kind) == f'as far as {name}'


@pytest.mark.parametrize('kind', ['style', 'features'])
def test_a_place_is_between_its_neighbours_on_the_scale(kind):
    scale = sorted((getattr(known, kind), known.name) for known in KNOWN_GAPS)
    text = [f'{value:.2f} ({name})' for value, name in scale]
    assert place(gap_of(scale[0][0] - 0.01), kind) == f'below {text[0]}'
    assert place(gap_of(scale[-1][0]), kind) == f'above {text[-1]}'
    for index, ((low, _), (high, _)) in enumerate(pairwise(scale)):
        found = place(gap_of((low + high) / 2), kind)
        assert found == f'above {text[index]}, below {text[index + 1]}'


def test_known_gaps_are_those_of_the_study():
    scale = json.loads(RESULTS.read_text())['datasets']['bluemarble_climate']['scale']
    assert [(known.style, known.features) for known in KNOWN_GAPS] == [
        (pytest.approx(row['style'], abs=0.005), pytest.approx(row['features'], abs=0.005))
        for row in sorted(scale.values(), key=lambda row: row['style'])]
