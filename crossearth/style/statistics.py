# SPDX-License-Identifier: Apache-2.0
"""Statistics of style embeddings: what Earth-Style Injection samples from (CrossEarth, Eq. 2).

A style is drawn as e' = mean + U sqrt(S) z with covariance = U S U^T and z ~ N(0, I). The file says
which images the statistics come from: those of a target domain would leak it into training.
"""

import functools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from logging import WARNING
from pathlib import Path
from typing import Literal

import torch
from mmengine.logging import print_log
from safetensors import SafetensorError, safe_open
from torch import Tensor

from crossearth.errors import ConfigError, DataError
from crossearth.weight_files import save_tensors

__all__ = ['HOW_TO_FIT', 'Covariance', 'StyleStatistics', 'warn_if_target']

Covariance = Literal['full', 'diag_svd']

# of the largest entry or eigenvalue: what a covariance that once was float32 may be off
TOLERANCE = 1e-6
HOW_TO_FIT = 'Fit it: python tools/fit_style_statistics.py IMAGES... -o FILE'


@dataclass(frozen=True, eq=False)
class StyleStatistics:
    """Mean and covariance of the style embeddings of a set of images, and where they come from.

    Args:
        mean: (D,) float64; D = 100 for the style predictors of the paper.
        covariance: (D, D) float64, symmetric and positive semi-definite.
        count: Number of images.
        dataset: Name of the image set.
        predictor_sha256: Hash of the predictor that made the embeddings.
        created: Date, ISO 8601.
        sources: Folders and files of the images, as they were given.

    Raises:
        DataError: The numbers are no mean and covariance: wrong shapes, NaN or infinity, not
            symmetric, not positive semi-definite, fewer than two images.
    """

    mean: Tensor
    covariance: Tensor
    count: int
    dataset: str
    predictor_sha256: str
    created: str
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        if flaw := _flaw(self.mean, self.covariance, self.count):
            raise DataError(f'the style statistics of {self.dataset!r} cannot be used: {flaw}. '
                            f'{HOW_TO_FIT}.')

    @property
    def dim(self) -> int:
        """Number of entries D of an embedding."""
        return len(self.mean)

    @functools.cached_property
    def _root(self) -> tuple[Tensor, Tensor]:
        """U (D, D) and sqrt(S) (D,); the SVD of a covariance is its eigendecomposition."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return vectors, values.clamp(min=0).sqrt()

    def sample(
        self,
        number: int,
        generator: torch.Generator | None = None,
        covariance: Covariance = 'full',
    ) -> Tensor:
        """Draw embeddings from N(mean, covariance).

        Args:
            number: How many, N.
            generator: A CPU generator; None for torch's own.
            covariance: `full`, or `diag_svd`: Eq. 2 as it is printed, which takes the singular
                values in descending order as variances of the entries and loses the rotation.

        Returns:
            (N, D) float64 on the CPU.
        """
        vectors, deviations = self._root
        z = torch.randn(number, self.dim, generator=generator, dtype=torch.float64)
        if covariance == 'diag_svd':
            return self.mean + z * deviations.flip(0)
        return self.mean + (z * deviations) @ vectors.T

    def require_predictor(self, sha256: str) -> None:
        """Refuse to be used beside another predictor than the one that made the embeddings.

        Raises:
            ConfigError: The hashes differ.
        """
        if self.predictor_sha256 != sha256:
            raise ConfigError(
                f'the style statistics of {self.dataset!r} were fitted with the style predictor '
                f'{self.predictor_sha256[:12]}..., but this run has {sha256[:12]}...; the '
                'embeddings of two predictors have nothing in common. Give the statistics of this '
                'predictor, or choose the kind of style that these belong to. '
                f'{HOW_TO_FIT} --kind KIND.')

    def save(self, path: str | Path) -> None:
        """Write a safetensors file with the provenance in its metadata, all of it or nothing."""
        provenance = {
            'count': self.count, 'dataset': self.dataset, 'created': self.created,
            'predictor_sha256': self.predictor_sha256, 'sources': list(self.sources)}
        tensors = {'mean': self.mean.contiguous(), 'covariance': self.covariance.contiguous()}
        save_tensors(tensors, Path(path), provenance)

    @classmethod
    def load(cls, path: str | Path) -> 'StyleStatistics':
        """Read a file of `save`.

        Raises:
            DataError: The file is missing, damaged, of another kind, or its content is invalid.
        """
        if not Path(path).is_file():
            raise DataError(f'there is no file of style statistics at {path}. Correct the path. '
                            f'{HOW_TO_FIT}. Or train without styles: style=none.')
        try:
            with safe_open(path, 'pt') as file:
                provenance = json.loads(file.metadata()['provenance'])
                mean, covariance = (
                    file.get_tensor(name).double() for name in ('mean', 'covariance'))
            provenance['sources'] = tuple(provenance['sources'])
            return cls(mean, covariance, **provenance)
        except (SafetensorError, OSError, ValueError, TypeError, LookupError) as error:
            raise DataError(f'{path} cannot be read as style statistics ({error}): it is damaged '
                            f'or something else. {HOW_TO_FIT}.') from error


def _flaw(mean: Tensor, covariance: Tensor, count: int) -> str:
    """What is wrong with a mean and a covariance; empty where nothing is."""
    if mean.ndim != 1 or not len(mean) or covariance.shape != (len(mean), len(mean)):
        return (f'a mean of shape {tuple(mean.shape)} and a covariance of shape '
                f'{tuple(covariance.shape)} do not fit, (D,) and (D, D) are expected')
    if not (mean.isfinite().all() and covariance.isfinite().all()):
        return 'they hold NaN or infinite values'
    if count < 2:
        return f'a covariance needs two images or more, this one has {count}'
    if (covariance - covariance.T).abs().max() > TOLERANCE * covariance.abs().max():
        return 'the covariance is not symmetric'
    values = torch.linalg.eigvalsh(covariance)
    if values[0] < -TOLERANCE * values.abs().max():
        return (f'the covariance is not positive semi-definite (its smallest eigenvalue is '
                f'{float(values[0]):.3g}, its largest {float(values[-1]):.3g})')
    return ''


def warn_if_target(statistics: StyleStatistics, targets: Iterable[str]) -> list[str]:
    """Warn when statistics come from a domain that the run will be tested on.

    A target counts as named when it is a word of the data-set name, the whole of it, or a folder or
    file of the sources; case, blanks, `-` and `_` do not matter.

    Args:
        statistics: Statistics of the run.
        targets: Names of unseen domains; of data sets, where a whole data set is unseen.

    Returns:
        The targets that are named.
    """
    names = [statistics.dataset, *re.split(r'[\s,;:/]+', statistics.dataset)]
    for source in statistics.sources:
        names += re.split(r'[/\\]', source)
    known = {_fold(name) for name in names}
    found = sorted({target for target in targets if _fold(target) and _fold(target) in known})
    if found:
        print_log(
            f'The style statistics come from {", ".join(found)}, which this run calls unseen: its '
            'imagery leaks into training, and the results are no domain generalisation. '
            f'(Data set {statistics.dataset!r}, {statistics.count} images of '
            f'{", ".join(statistics.sources)}.) Fit them on other images with '
            'tools/fit_style_statistics.py.', logger='current', level=WARNING)
    return found


def _fold(name: str) -> str:
    return re.sub(r'[\W_]', '', name).casefold()
