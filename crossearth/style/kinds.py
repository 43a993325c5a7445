# SPDX-License-Identifier: Apache-2.0
"""The kinds of style: which pair of nets and which shipped statistics stand behind a name."""

import hashlib
from pathlib import Path

from crossearth.errors import ConfigError, suggest

from .fourier import RADIUS, FourierPredictor, FourierTransformer
from .nets import StyleNets, build_style_nets
from .reinhard import LabPredictor, LabTransformer
from .statistics import HOW_TO_FIT, StyleStatistics

__all__ = ['KINDS', 'build_kind', 'load_statistics', 'shipped_statistics']

KINDS = ('magenta', 'jackson', 'reinhard_lab', 'fourier_amplitude')

# kind -> statistics of the train tiles of BlueMarble-Climate's five climates that CASID lacks
SHIPPED = {
    'magenta': 'bluemarble_field.safetensors',
    'reinhard_lab': 'bluemarble_field_lab.safetensors',
    'fourier_amplitude': 'bluemarble_field_fourier.safetensors',
}


def build_kind(kind: str, folder: str | Path | None = None) -> StyleNets:
    """Build style predictor and transformer of a kind.

    Args:
        kind: One of `KINDS`.
        folder: Where the weights of `magenta` and `jackson` lie; None for the usual folders.

    Raises:
        ConfigError: The kind is unknown.
        WeightsNotFoundError: The kind needs weights that are not on this machine.
    """
    match kind:
        case 'magenta' | 'jackson':
            return build_style_nets(kind, folder)
        case 'reinhard_lab':
            return StyleNets(LabPredictor(), LabTransformer(), _fingerprint('reinhard_lab 1'))
        case 'fourier_amplitude':
            name = f'fourier_amplitude 1 radius {RADIUS}'
            return StyleNets(FourierPredictor(), FourierTransformer(), _fingerprint(name))
    raise ConfigError(f'style kind={kind!r} is unknown.{suggest(kind, (*KINDS, "none"))} '
                      f"Choose one of {', '.join(KINDS)}, or 'none'.")


def _fingerprint(definition: str) -> str:
    """What a hash of weights is for nets that have none: change it with their definition."""
    return hashlib.sha256(definition.encode()).hexdigest()


def shipped_statistics(kind: str) -> Path:
    """Path of the statistics that come with the package.

    Raises:
        ConfigError: None are shipped for this kind.
    """
    if kind not in SHIPPED:
        raise ConfigError(
            f'no style statistics are shipped for style kind={kind!r}, and none are given. '
            f'{HOW_TO_FIT} --kind {kind}, and set statistics to that file. Or choose '
            f'style=none, or one of the kinds {", ".join(SHIPPED)}.')
    return Path(__file__).parent / 'data' / SHIPPED[kind]


def load_statistics(
    kind: str, nets: StyleNets, path: str | Path | None = None
) -> StyleStatistics:
    """Load the statistics for a pair of nets.

    Args:
        kind: One of `KINDS`.
        nets: The pair of this kind.
        path: File of statistics; None for those that are shipped.

    Raises:
        ConfigError: They were fitted with another predictor, or none are shipped.
        DataError: The file is missing or invalid.
    """
    statistics = StyleStatistics.load(path or shipped_statistics(kind))
    statistics.require_predictor(nets.sha256)
    return statistics
