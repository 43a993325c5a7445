# SPDX-License-Identifier: Apache-2.0
"""What the vectors of a training domain look like, and how far other vectors are from them.

A `Reference` is small enough for the card of a bundle. It compares in two ways: by the Frechet
distance between two normal distributions (Dowson and Landau 1982; of image features known as FID,
Heusel et al. 2017), and by how many vectors have none of the domain's near them.
"""

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from crossearth.errors import BundleError, DataError

__all__ = ['Gap', 'Reference', 'frechet_distance']

MAX_SAMPLE = 256  # training tiles kept for the search of neighbours
EDGE = 0.95       # quantile of the domain's own nearest distances that is taken as its edge
REPEATS = 8       # draws for the distance that chance alone gives


@dataclass(frozen=True)
class Gap:
    """How far tiles are from a training domain.

    Args:
        tiles: Number of tiles N.
        frechet: Squared Frechet distance between the tiles and the domain, in units of the vectors.
        expected: What N tiles of the domain itself would have: few tiles are never the whole.
        shift: Root of the distance beyond `expected`, in units of the domain's own spread (the root
            of its total variance). 0 is no gap; comparable between domains and networks.
        outside: Share of the tiles that are farther from any training tile than 95 % of the
            training tiles are from their nearest one.
        reach: Median distance to the nearest training tile, in units of that edge.
    """

    tiles: int
    frechet: float
    expected: float
    shift: float
    outside: float
    reach: float


def frechet_distance(
    mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray
) -> float:
    """Squared Frechet distance of two normal distributions.

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), where the last trace is that of the symmetric
    (C_a^(1/2) C_b C_a^(1/2))^(1/2), which singular covariances do not upset.

    Args:
        mean_a: (D,).
        covariance_a: (D, D), symmetric and positive semi-definite.
        mean_b: (D,).
        covariance_b: (D, D), likewise.
    """
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ covariance_b @ root).clip(0)).sum()
    squared = (np.square(mean_a - mean_b).sum() + np.trace(covariance_a) + np.trace(covariance_b)
               - 2 * cross)
    return max(0.0, float(squared))


@dataclass(frozen=True, eq=False)
class Reference:
    """What the vectors of a training domain look like.

    Args:
        count: Number of training tiles.
        mean: (D,).
        covariance: (D, D).
        sample: Vectors of some training tiles, (R, D).
        radius: Distance to the nearest other tile of the sample that 95 % of it do not exceed.
        origin: Mean of the raw vectors (F,), where D is fewer than F; else None.
        scale: Their standard deviations (F,).
        axes: Principal axes of the standardised vectors, (D - 1, F).
    """

    count: int
    mean: np.ndarray
    covariance: np.ndarray
    sample: np.ndarray
    radius: float
    origin: np.ndarray | None = None
    scale: np.ndarray | None = None
    axes: np.ndarray | None = None

    @classmethod
    def fit(cls, vectors: np.ndarray, max_dims: int | None = None) -> 'Reference':
        """Describe the vectors of a domain.

        Args:
            vectors: One for each tile, (N, F).
            max_dims: Keep so many principal axes of the standardised vectors, and the length of
                what they leave out: that is where the unknown shows. None keeps the vectors.

        Raises:
            DataError: There are fewer than two tiles, or they are all the same.
        """
        vectors = np.asarray(vectors, np.float64)
        if len(vectors) < 2 or not (spread := vectors.std(axis=0)).any():
            raise DataError(f'{len(vectors)} tiles that are all alike tell nothing about a domain: '
                            'give two different ones or more, better hundreds.')
        projection: dict[str, np.ndarray] = {}
        if max_dims is not None:
            origin, scale = vectors.mean(axis=0), np.where(spread > 0, spread, 1)
            _, _, axes = np.linalg.svd((vectors - origin) / scale, full_matrices=False)
            projection = {'origin': origin, 'scale': scale, 'axes': axes[:max_dims]}
            vectors = _project(vectors, **projection)
        chosen = np.random.default_rng(0).permutation(len(vectors))[:MAX_SAMPLE]
        sample = vectors[np.sort(chosen)]
        between = cdist(sample, sample)
        np.fill_diagonal(between, np.inf)
        radius = float(np.quantile(between.min(axis=1), EDGE))
        if radius == 0:
            raise DataError('nearly all tiles of the domain are copies of each other. Give '
                            'different ones.')
        return cls(len(vectors), vectors.mean(axis=0), np.cov(vectors, rowvar=False).reshape(
            [vectors.shape[1]] * 2), sample, radius, **projection)

    def distances(self, vectors: np.ndarray) -> np.ndarray:
        """Distance of each vector (N, F) to its nearest training tile, in units of the radius."""
        nearest: np.ndarray = cdist(self._own(vectors), self.sample).min(axis=1)
        return nearest / self.radius

    def compare(self, vectors: np.ndarray) -> Gap:
        """Measure how far the tiles of some vectors (N, F) are, N >= 1."""
        own, nearest = self._own(vectors), self.distances(vectors)
        generator = np.random.default_rng(0)
        expected = float(np.mean([self._frechet(self.sample[
            generator.integers(0, len(self.sample), len(own))]) for _ in range(REPEATS)]))
        frechet = self._frechet(own)
        shift = math.sqrt(max(0.0, frechet - expected) / float(np.trace(self.covariance)))
        return Gap(len(own), frechet, expected, shift, float((nearest > 1).mean()),
                   float(np.median(nearest)))

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON; arrays as base64 of little-endian float32."""
        return {name: _encode(value) if isinstance(value, np.ndarray) else value
                for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> 'Reference':
        """Undo `to_plain`.

        Raises:
            BundleError: The values are not of `to_plain`.
        """
        try:
            values: dict[str, Any] = {name: _decode(value) if isinstance(value, Mapping) else value
                                      for name, value in plain.items()}
            reference = cls(**values)
            if flaw := reference._flaw():
                raise ValueError(flaw)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise BundleError(f'the statistics of the training domain are damaged ({error}). Copy '
                              'the bundle again, or export it again.') from error
        return reference

    def _own(self, vectors: np.ndarray) -> np.ndarray:
        vectors = np.asarray(vectors, np.float64)
        if self.origin is None or self.scale is None or self.axes is None:
            return vectors
        return _project(vectors, self.origin, self.scale, self.axes)

    def _frechet(self, own: np.ndarray) -> float:
        covariance = (np.cov(own, rowvar=False).reshape(self.covariance.shape) if len(own) > 1
                      else np.zeros_like(self.covariance))
        return frechet_distance(self.mean, self.covariance, own.mean(axis=0), covariance)

    def _flaw(self) -> str:
        dim, raw = len(self.mean), (self.origin, self.scale, self.axes)
        if self.mean.shape != (dim,) or self.covariance.shape != (dim, dim) or (
                self.sample.shape != (len(self.sample), dim) or not len(self.sample)):
            return 'the shapes of mean, covariance and sample do not fit'
        if not (isinstance(self.count, int) and isinstance(self.radius, float)
                and 0 < self.radius < math.inf and np.trace(self.covariance) > 0):
            return 'count, radius or covariance is no positive number'
        if any(part is None for part in raw) != all(part is None for part in raw):
            return 'a part of the projection is missing'
        if self.axes is not None and self.origin is not None and self.scale is not None and (
                self.axes.shape != (dim - 1, len(self.origin))
                or self.scale.shape != self.origin.shape):
            return 'the shapes of the projection do not fit'
        return ''


def _project(
    vectors: np.ndarray, origin: np.ndarray, scale: np.ndarray, axes: np.ndarray
) -> np.ndarray:
    """Coordinates on the axes, and the length of the rest."""
    standard = (vectors - origin) / scale
    own = standard @ axes.T
    rest = np.square(standard).sum(axis=1) - np.square(own).sum(axis=1)
    return np.column_stack([own, np.sqrt(rest.clip(0))])


def _encode(array: np.ndarray) -> dict[str, Any]:
    return {'shape': list(array.shape),
            'float32': base64.b64encode(array.astype('<f4').tobytes()).decode()}


def _decode(plain: Mapping[str, Any]) -> np.ndarray:
    content = base64.b64decode(plain['float32'], validate=True)
    array = np.frombuffer(content, '<f4').reshape(plain['shape']).astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError('a number is not finite')
    return array
