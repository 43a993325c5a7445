# SPDX-License-Identifier: Apache-2.0
"""Feature vectors of several domains: samples, planes to show them on, and how far they part.

The numbers are computed on the vectors themselves: a plane, UMAP's most of all, keeps neighbours
but no distances.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossearth.errors import DataError, MissingDependencyError

from .subjects import Subject
from .tiles import IGNORED, TileSet

__all__ = ['Samples', 'layer_features', 'plane', 'probe_accuracy', 'sample_pixels', 'separation',
           'silhouette', 'tile_means']

FOLDS = 5          # of the probe
NEIGHBOURS = 15    # of UMAP
MAX_PIXELS = 2**16  # of one tile, among which is drawn
MAX_SILHOUETTE = 5000  # vectors; its memory grows with their square

Features = Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class Samples:
    """Feature vectors and where they come from.

    Args:
        vectors: (N, D).
        domains: Name of the domain of each (N,).
        tiles: Number of the tile of each (N,).
        classes: Class of each (N,); -1 for a whole tile.
        places: Row and column in px of the label, (N, 2); -1 for a whole tile.
    """

    vectors: NDArray[np.float64]
    domains: NDArray[np.str_]
    tiles: NDArray[np.int64]
    classes: NDArray[np.int64]
    places: NDArray[np.int64]


def tile_means(tiles: TileSet, features: Features) -> Samples:
    """One vector for each tile: the mean of its feature map (y, x, D)."""
    number = len(tiles.tiles)
    return Samples(
        np.stack([found.mean(axis=(0, 1)) for found in features]).astype(np.float64),
        np.array([tile.domain for tile in tiles.tiles]), np.arange(number),
        np.full(number, -1), np.full((number, 2), -1))


def sample_pixels(tiles: TileSet, features: Features, number: int, seed: int) -> Samples:
    """Draw labelled pixels, in each domain equally many of each class as far as it has them.

    A pixel has the feature of the cell of the map that it lies in, so a class is drawn from a cell
    once: copies of a vector would look like clusters.

    Args:
        tiles: The tiles.
        features: The feature map of each, (y, x, D).
        number: Pixels of each domain at most.
        seed: Of the draw.

    Raises:
        DataError: A domain has no labelled pixel.
    """
    rng = np.random.default_rng(seed)
    each = max(1, number // len(tiles.classes))
    parts: list[tuple[Any, ...]] = []
    for domain in tiles.domains:
        own = [index for index, tile in enumerate(tiles.tiles) if tile.domain == domain]
        pixels, found = map(np.concatenate, zip(*(
            _labelled(index, tiles.tiles[index].label) for index in own), strict=True))
        if not len(found):
            raise DataError(f"the tiles of '{domain}' have no labelled pixel. Choose other domains "
                            'or more tiles.')
        for label in np.unique(found):
            mixed = pixels[rng.permutation(np.flatnonzero(found == label))]
            _, first = np.unique(_cells(mixed, tiles, features), axis=0, return_index=True)
            parts += [(domain, label, *mixed[index]) for index in np.sort(first)[:each]]
    names, labels, owners, rows, columns = map(np.array, zip(*parts, strict=True))
    vectors = np.stack([
        features[t][y, x] for t, y, x in _cells(
            np.column_stack([owners, rows, columns]), tiles, features)]).astype(np.float64)
    return Samples(vectors, names, owners, labels, np.column_stack([rows, columns]))


def _labelled(
    index: int, label: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(Tile, row, column) of labelled pixels (P, 3) on a grid of at most 65,536, and classes."""
    step = int(np.ceil(np.sqrt(label.size / MAX_PIXELS)))
    coarse = label[::step, ::step]
    places = np.argwhere(coarse != IGNORED)
    return np.insert(places * step, 0, index, axis=1), coarse[tuple(places.T)].astype(np.int64)


def _cells(
    pixels: NDArray[np.int64], tiles: TileSet, features: Features
) -> NDArray[np.int64]:
    """Tile, row and column of the cells (P, 3) that pixels (P, 3) of labels lie in."""
    labels = np.array([tile.label.shape for tile in tiles.tiles])[pixels[:, 0]]
    grids = np.array([found.shape[:2] for found in features])[pixels[:, 0]]
    return np.column_stack([pixels[:, 0], pixels[:, 1:] * grids // labels])


def plane(vectors: NDArray[np.float64], method: str, seed: int) -> NDArray[np.float64]:
    """Lay standardised vectors out on a plane.

    Args:
        vectors: (N, D), N >= 4.
        method: `umap` (McInnes et al. 2018) or `pca`.
        seed: Of UMAP.

    Returns:
        Coordinates (N, 2).

    Raises:
        MissingDependencyError: The package of the method is not installed.
        DataError: There are too few vectors.
    """
    if len(vectors) < 4:
        raise DataError(f'{len(vectors)} vectors cannot be laid out. Take more tiles.')
    standard = _standardised(vectors)
    if method == 'pca':
        left, values, _ = np.linalg.svd(standard, full_matrices=False)
        return np.asarray(left[:, :2] * values[:2])
    try:
        from umap import UMAP
    except ImportError as error:
        raise MissingDependencyError(
            "UMAP needs umap-learn. Run: pip install 'crossearth[viz]' (or take --method pca).",
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # a seed means one thread
        layout = UMAP(n_neighbors=min(NEIGHBOURS, len(vectors) - 2), random_state=seed,
                      init='pca')
        return np.asarray(layout.fit_transform(standard), np.float64)


def silhouette(
    vectors: NDArray[np.float64], groups: NDArray[Any], seed: int = 0
) -> float:
    """Mean silhouette (Rousseeuw 1987) of groups of vectors, from -1 to 1.

    Args:
        vectors: (N, D); they are standardised. Of more than 5000 as many are drawn.
        groups: Group of each, (N,).
        seed: Of that draw.

    Returns:
        NaN where there are fewer than two groups, or as many as vectors.
    """
    metrics = _sklearn('metrics')
    if not 2 <= len(np.unique(groups)) < len(groups):
        return float('nan')
    size = MAX_SILHOUETTE if len(groups) > MAX_SILHOUETTE else None
    return float(metrics.silhouette_score(
        _standardised(vectors), groups, sample_size=size, random_state=seed))


def probe_accuracy(
    vectors: NDArray[np.float64], groups: NDArray[Any], tiles: NDArray[np.int64], seed: int
) -> float:
    """Balanced accuracy of a linear probe that tells groups apart, cross-validated by tile.

    No tile is in the training and the test of a fold: pixels of one tile are alike.

    Args:
        vectors: (N, D).
        groups: Group of each, (N,).
        tiles: Tile of each, (N,).
        seed: Of the folds.

    Returns:
        Fraction; 1 / number of groups is chance. NaN where a group has one tile only.
    """
    linear, model_selection, metrics, pipeline, preprocessing = map(_sklearn, (
        'linear_model', 'model_selection', 'metrics', 'pipeline', 'preprocessing'))
    fewest = min((len(np.unique(tiles[groups == name])) for name in np.unique(groups)), default=0)
    if fewest < 2 or len(np.unique(groups)) < 2:
        return float('nan')
    probe = pipeline.make_pipeline(
        preprocessing.StandardScaler(), linear.LogisticRegression(C=0.1, max_iter=500))
    folds = model_selection.StratifiedGroupKFold(
        min(FOLDS, fewest), shuffle=True, random_state=seed)
    told = model_selection.cross_val_predict(probe, vectors, groups, groups=tiles, cv=folds)
    return float(metrics.balanced_accuracy_score(groups, told))


def separation(samples: Samples, seed: int) -> dict[str, float]:
    """How far domains part, and classes where there are any.

    Returns:
        `domain_silhouette`, `domain_probe` and its `domain_chance`; of pixels also
        `class_silhouette` and `domain_silhouette_within_class`, the mean over the classes.
    """
    numbers = {
        'domain_silhouette': silhouette(samples.vectors, samples.domains, seed),
        'domain_probe': probe_accuracy(samples.vectors, samples.domains, samples.tiles, seed),
        'domain_chance': 1 / len(np.unique(samples.domains))}
    if (samples.classes < 0).any():
        return numbers
    within = [silhouette(samples.vectors[own], samples.domains[own], seed)
              for label in np.unique(samples.classes) for own in [samples.classes == label]]
    known = [value for value in within if not np.isnan(value)]
    return {**numbers, 'class_silhouette': silhouette(samples.vectors, samples.classes, seed),
            'domain_silhouette_within_class': float(np.mean(known)) if known else float('nan')}


def layer_features(subject: Subject, tiles: TileSet, layer: str) -> Features:
    """The feature map (y, x, D) of a layer for each tile."""
    return [subject.features(tile.image, layer) for tile in tiles.tiles]


def _standardised(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = vectors.std(axis=0)
    standard: NDArray[np.float64] = (vectors - vectors.mean(axis=0)) / np.where(
        spread > 0, spread, 1)
    return standard


def _sklearn(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f'sklearn.{module}')
    except ImportError as error:
        raise MissingDependencyError(
            "The numbers beside the picture need scikit-learn. Run: pip install 'crossearth[viz]'.",
        ) from error
