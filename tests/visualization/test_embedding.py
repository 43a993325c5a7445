# SPDX-License-Identifier: Apache-2.0
"""Samples of feature vectors, planes and numbers against references."""

import numpy as np
import pytest
from tilesets import FakeSubject, tile_set

from crossearth.errors import DataError, MissingDependencyError
from crossearth.visualization.embedding import (
    layer_features,
    plane,
    probe_accuracy,
    sample_pixels,
    separation,
    silhouette,
    tile_means,
)
from crossearth.visualization.embedding_chart import sentence, write_embedding

sklearn = pytest.importorskip('sklearn', reason='scikit-learn is of the extra viz')


def blobs(distance, number=30, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.repeat(['a', 'b'], number)
    return rng.normal(size=(2 * number, 5)) + distance * (groups == 'b')[:, None], groups


def test_silhouette_is_that_of_standardised_vectors():
    vectors, groups = blobs(2.0)
    vectors[:, 0] *= 1000  # a channel of another scale counts as much as the others
    standard = (vectors - vectors.mean(0)) / vectors.std(0)
    between = np.linalg.norm(standard[:, None] - standard[None], axis=-1)
    own = groups[:, None] == groups[None]
    inner = (between * own).sum(1) / (own.sum(1) - 1)
    outer = (between * ~own).sum(1) / (~own).sum(1)
    expected = ((outer - inner) / np.maximum(inner, outer)).mean()
    assert silhouette(vectors, groups) == pytest.approx(expected)


def test_silhouette_of_one_group_is_unknown():
    assert np.isnan(silhouette(np.eye(4), np.array(['a'] * 4)))


@pytest.mark.parametrize(('distance', 'low', 'high'), [(0.0, 0.3, 0.7), (6.0, 0.99, 1.0)])
def test_probe_tells_apart_what_differs_and_guesses_otherwise(distance, low, high):
    vectors, groups = blobs(distance, 100)
    assert low <= probe_accuracy(vectors, groups, np.arange(200), 0) <= high


def test_probe_never_learns_from_the_tile_that_it_is_tested_on():
    # pixels of a tile are copies: a probe that saw the tile would know its domain
    rng = np.random.default_rng(0)
    tiles = np.repeat(np.arange(20), 10)
    vectors = rng.normal(size=(20, 40))[tiles]
    groups = np.array(['a', 'b'])[tiles % 2]
    assert probe_accuracy(vectors, groups, tiles, 0) < 0.8


def test_probe_of_a_single_tile_is_unknown():
    vectors, groups = blobs(3.0, 5)
    assert np.isnan(probe_accuracy(vectors, groups, (groups == 'b').astype(int), 0))


def test_pca_plane_is_that_of_sklearn():
    from sklearn.decomposition import PCA

    vectors = blobs(2.0)[0]
    standard = (vectors - vectors.mean(0)) / vectors.std(0)
    expected = PCA(2, svd_solver='full').fit_transform(standard)
    np.testing.assert_allclose(np.abs(plane(vectors, 'pca', 0)), np.abs(expected), atol=1e-9)


@pytest.mark.slow  # numba compiles for half a minute
def test_umap_repeats_with_its_seed_and_parts_what_is_far_apart():
    pytest.importorskip('umap', reason='umap-learn is of the extra viz')
    vectors, groups = blobs(8.0, 12)
    first = plane(vectors, 'umap', 3)
    np.testing.assert_array_equal(first, plane(vectors, 'umap', 3))
    assert silhouette(first, groups) > 0.3


def test_umap_missing_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'umap', None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'crossearth\[viz\]'"):
        plane(np.eye(6), 'umap', 0)


def test_too_few_vectors():
    with pytest.raises(DataError, match='3 vectors cannot be laid out'):
        plane(np.eye(3), 'pca', 0)


def test_tile_means_and_pixels_come_from_their_places():
    tiles = tile_set()
    features = layer_features(FakeSubject(), tiles, 'any')
    means = tile_means(tiles, features)
    np.testing.assert_allclose(
        means.vectors, [tile.image.mean((0, 1)) for tile in tiles.tiles], rtol=1e-5)
    pixels = sample_pixels(tiles, features, 12, seed=1)
    for vector, owner, label, (row, column) in zip(
            pixels.vectors, pixels.tiles, pixels.classes, pixels.places, strict=True):
        tile = tiles.tiles[owner]
        assert tile.label[row, column] == label
        cell = tile.image[row // 4 * 4:row // 4 * 4 + 4, column // 4 * 4:column // 4 * 4 + 4]
        np.testing.assert_allclose(vector, cell.mean((0, 1)), rtol=1e-5)
    for domain in ('dry', 'wet'):
        counts = np.bincount(pixels.classes[pixels.domains == domain])
        assert counts.tolist() == [6, 6]


def test_no_class_is_drawn_twice_from_a_cell():
    tiles = tile_set(1)
    pixels = sample_pixels(tiles, layer_features(FakeSubject(), tiles, 'any'), 1000, seed=0)
    keys = np.column_stack([pixels.tiles, pixels.places // 4, pixels.classes])
    assert len(np.unique(keys, axis=0)) == len(keys) == 2 * 16


def test_separation_of_pixels_and_tiles():
    tiles = tile_set()
    features = layer_features(FakeSubject(), tiles, 'any')
    assert set(separation(tile_means(tiles, features), 0)) == {
        'domain_silhouette', 'domain_probe', 'domain_chance'}
    found = separation(sample_pixels(tiles, features, 20, 0), 0)
    assert found['domain_chance'] == 0.5
    assert -1 <= found['domain_silhouette_within_class'] <= 1


def test_sentence_leaves_out_what_is_unknown():
    assert sentence({'domain_silhouette': float('nan'), 'domain_probe': 0.5,
                     'domain_chance': 0.25}) == 'linear probe for the domain 50 % (chance 25)'


def test_written_points_are_all_points(tmp_path):
    files = write_embedding(FakeSubject(), tile_set(), tmp_path, layer='out2', pixels=16,
                            method='pca', seed=0)
    assert [path.name for path in files] == [
        'umap_domains.png', 'umap_classes.png', 'umap.csv', 'umap_numbers.csv']
    lines = (tmp_path / 'umap.csv').read_text().splitlines()
    assert len(lines) == 1 + 6 + 2 * 16
    assert 'domains,domain_chance,0.5' in (tmp_path / 'umap_numbers.csv').read_text()
