# SPDX-License-Identifier: Apache-2.0
"""Every error that a user's input can cause, under one root.

A message has one form: what is wrong, where, and how to mend it. Tools print the message of a
`CrossEarthError` as one paragraph without a traceback and exit with status 2; any other exception
is a bug of ours and keeps its traceback.
"""

import difflib
from collections.abc import Iterable

__all__ = [
    'BundleError',
    'CheckpointError',
    'ConfigError',
    'CrossEarthError',
    'DataError',
    'MissingDependencyError',
    'RasterError',
    'TrainingError',
    'UnsafeCheckpointError',
    'WeightsNotFoundError',
    'suggest',
]


class CrossEarthError(Exception):
    """Root of the errors that a user can mend."""


class ConfigError(CrossEarthError):
    """A config names something that does not exist or contradicts itself."""


class DataError(CrossEarthError):
    """Images or labels are missing, do not pair up, or hold values that no class has."""


class CheckpointError(CrossEarthError):
    """A checkpoint is damaged, or does not fit the model."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint could run code when it is loaded, so it is refused."""


class TrainingError(CrossEarthError):
    """A training cannot go on: its losses or weights are no longer finite numbers."""


class WeightsNotFoundError(CrossEarthError):
    """Pre-trained weights are not on this machine."""


class BundleError(CrossEarthError):
    """A released model is incomplete, damaged, or described by a card that breaks its schema."""


class RasterError(CrossEarthError):
    """A raster cannot be read, does not fit the model, or the map cannot be written."""


class MissingDependencyError(CrossEarthError):
    """An optional package is not installed."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Make a hint such as ` Did you mean 'forest'?` for a misspelt name.

    Args:
        name: What was given.
        known: What exists.

    Returns:
        The hint with a leading blank, or nothing where no name is near.
    """
    by_folded = {item.lower(): item for item in known}
    near = difflib.get_close_matches(name.lower(), by_folded, n=1)
    return f" Did you mean '{by_folded[near[0]]}'?" if near else ''
