# SPDX-License-Identifier: Apache-2.0
"""Read the data sets of a config from another folder, without an edit of the config."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from crossearth.errors import ConfigError

__all__ = ['set_data_root']


def set_data_root(cfg: Config, folder: str | Path) -> None:
    """Replace every data root of a config, in place.

    A data set is read from the folder of its own name in `folder` (`data/loveda` from
    `folder/loveda`); the only data set of a config may be `folder` itself.

    Args:
        cfg: A config, not yet completed.
        folder: What `--data-root` gives.

    Raises:
        ConfigError: There is no such folder, or none in it for any of several data sets.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(f'--data-root: there is no folder {folder.absolute()}.')
    owners = [(node, Path(node['data_root'])) for node in _owners(cfg)]
    places = {root: folder / root.name for _, root in owners}
    if not any(place.is_dir() for place in places.values()):
        if len(places) > 1:
            raise ConfigError(
                f'--data-root {folder}: the config reads {len(places)} data sets, and there is '
                f"none of the folders {', '.join(map(str, places.values()))}. Give the folder that "
                'holds them.')
        places = dict.fromkeys(places, folder)
    if len({*places.values()}) < len(places):
        raise ConfigError(
            f'--data-root {folder}: {", ".join(map(str, places))} are different data sets with '
            'folders of one name. Set each data_root with --cfg-options.')
    if not owners:
        cfg.data_root = str(folder)
    for node, root in owners:
        node['data_root'] = str(places[root])


def _owners(node: Any) -> Iterator[Any]:
    """Every part of a config that has a data root."""
    if isinstance(node, Mapping | Config):
        if node.get('data_root'):
            yield node
        for value in node.values():
            yield from _owners(value)
    elif isinstance(node, list | tuple):
        for item in node:
            yield from _owners(item)
