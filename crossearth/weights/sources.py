# SPDX-License-Identifier: Apache-2.0
"""Where the weights of a name lie on this machine."""

import logging
from pathlib import Path

from mmengine.logging import print_log

from crossearth.errors import ConfigError, WeightsNotFoundError, suggest
from crossearth.weight_files import search_folders

from .zoo import SOURCES, WeightSource

__all__ = ['SOURCES', 'WeightSource', 'find_weights', 'locate', 'source_of', 'warn_if_changed']


def find_weights(name: str | Path) -> Path:
    """Find a file of pre-trained weights on this machine.

    Args:
        name: A name of `SOURCES`, or the path of a file.

    Returns:
        The file: the path itself, or `file_name` in the first of `$CROSSEARTH_WEIGHTS`, `./weights`
        and the cache folder that has it.

    Raises:
        WeightsNotFoundError: The file is in none of these folders, or not at the path.
        ConfigError: The name is unknown, and not a path either.
    """
    if (path := Path(name).expanduser()).is_file():
        return path
    # what looks like a path is taken for one: its remedy is another path, not another name
    if str(name) not in SOURCES and (path.suffix or len(path.parts) > 1):
        raise WeightsNotFoundError(
            f'there is no file of weights at {path.absolute()}. Correct the path, or use one of '
            f'the names {", ".join(SOURCES)}.')
    source = source_of(str(name))
    if (found := locate(source)) is not None:
        return found
    folders = search_folders()
    packaged = source.sha256 is not None and source.hash_by == 'CrossEarth'
    get = f'Run: {source.remedy}' if packaged else (
        f'Run: crossearth weights get {source.name}. Or download {source.url} and put it into '
        f'{folders[0].absolute()}, or point CROSSEARTH_WEIGHTS at the folder that holds it')
    raise WeightsNotFoundError(
        f'the weights {source.name!r} ({source.note}) are not on this machine: no '
        f'{source.file_name} in {", ".join(str(folder) for folder in folders)}. {get}.')


def source_of(name: str) -> WeightSource:
    """Look a name up.

    Raises:
        ConfigError: It is unknown.
    """
    if name not in SOURCES:
        raise ConfigError(
            f'the weights {name!r} are unknown.{suggest(name, SOURCES)} Known names: '
            f'{", ".join(SOURCES)}; a path of a file works too.')
    return SOURCES[name]


def locate(source: WeightSource) -> Path | None:
    """Find the file of a source in the weights folders; None if it is in none of them."""
    paths = (folder / source.file_name for folder in search_folders())
    return next((path for path in paths if path.is_file()), None)


def warn_if_changed(name: str | Path, path: Path, sha256: str) -> None:
    """Warn when the file of a known name has another hash than the one that we know.

    It is used all the same: that it fills the model has been checked, and hashes measured by third
    parties may be of another release. Whether that matters only the user can say.

    Args:
        name: Name of `SOURCES`; nothing is known of a path.
        path: The file.
        sha256: Its hash.
    """
    source = SOURCES.get(str(name))
    if source is None or source.sha256 in (None, sha256):
        return
    print_log(
        f'{path} has the sha256 {sha256}, not {source.sha256} (as measured by {source.hash_by}). '
        'It is used, since all tensors fit; compare results with care. The known one comes with: '
        f'crossearth weights get {source.name}.', 'current', logging.WARNING)
