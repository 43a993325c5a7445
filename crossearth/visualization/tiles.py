# SPDX-License-Identifier: Apache-2.0
"""The tiles that an analysis looks at, as the test of a config sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from numpy.typing import NDArray

from crossearth.engine.complete import complete_data
from crossearth.errors import ConfigError, DataError, suggest
from crossearth.registry import DATASETS

__all__ = ['IGNORED', 'Tile', 'TileSet', 'diversity', 'read_tiles']

IGNORED = 255


@dataclass(frozen=True)
class Tile:
    """One tile.

    Args:
        domain: Its domain.
        path: Its image file.
        image: RGB (h, w, 3), as the network gets it before the normalisation.
        label: Class of each pixel (H, W), 255 where ignored; larger than the image where the
            test resizes images only.
    """

    domain: str
    path: str
    image: NDArray[np.uint8]
    label: NDArray[np.uint8]

    @property
    def view(self) -> NDArray[np.uint8]:
        """The image at the size of the label."""
        height, width = self.label.shape
        return self.image if self.image.shape[:2] == (height, width) else np.asarray(
            cv2.resize(self.image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True)
class TileSet:
    """Tiles of several domains, domain by domain.

    Args:
        tiles: The tiles.
        classes: Names of the classes.
        palette: Their colours.
        source: Domains that are trained on.
    """

    tiles: Sequence[Tile]
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]
    source: Sequence[str]

    @property
    def domains(self) -> list[str]:
        """The domains of the tiles, in order."""
        return list(dict.fromkeys(tile.domain for tile in self.tiles))

    def title(self, domain: str) -> str:
        """Name of a domain as it is shown."""
        return domain.replace('_', ' ') + (' (source)' if domain in self.source else '')

    def most_diverse(self, number: int) -> 'TileSet':
        """The tiles of each domain whose truth has most classes; no prediction has a say."""
        chosen = []
        for domain in self.domains:
            own = [tile for tile in self.tiles if tile.domain == domain]
            chosen += sorted(own, key=lambda tile: -diversity(tile.label))[:number]
        return TileSet(chosen, self.classes, self.palette, self.source)


def read_tiles(
    cfg: Config, number: int | None = None, domains: Sequence[str] = ()
) -> TileSet:
    """Read test tiles of a config.

    Args:
        cfg: A config.
        number: Tiles of each domain at most, evenly spread; None for all.
        domains: Those to look at; all that the config tests if none are given.

    Raises:
        ConfigError: The config tests nothing, or not one of the domains.
        DataError: The data are missing or broken.
    """
    loader = complete_data(cfg).get('test_dataloader')
    if loader is None:
        raise ConfigError(f'{cfg.filename} has no test_dataloader, so there are no tiles to look '
                          'at. Give a config that tests something.')
    dataset = DATASETS.build(loader.dataset)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    places: dict[str, list[int]] = {}
    for index, info in enumerate(infos):
        places.setdefault(info['domain'], []).append(index)
    for domain in domains:
        if domain not in places:
            raise ConfigError(f"the test of {cfg.filename} has no domain '{domain}'."
                              f'{suggest(domain, places)} It has {", ".join(places)}.')
    chosen = [index for domain in domains or places for index in _spread(places[domain], number)]
    if not chosen:
        raise DataError(f'the test data of {cfg.filename} hold no tile. Check its data_root.')
    source = cfg.get('source') or [
        name for metric in _metrics(cfg) for name in metric.get('source') or ()]
    return TileSet(
        [_tile(dataset[index], infos[index]) for index in chosen], dataset.metainfo['classes'],
        dataset.metainfo['palette'], [source] if isinstance(source, str) else list(source))


def diversity(label: NDArray[np.integer]) -> float:
    """Entropy of the classes of a label map (H, W) in nats, times the share of labelled pixels."""
    counts = np.bincount(label[label != IGNORED].ravel(), minlength=1)
    share = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(share * np.log(share)).sum() * counts.sum() / label.size)


def _metrics(cfg: Config) -> list[Any]:
    evaluators = cfg.get('test_evaluator') or []
    return list(evaluators) if isinstance(evaluators, list | tuple) else [evaluators]


def _spread(places: Sequence[int], number: int | None) -> list[int]:
    """The middles of `number` equal parts of a list."""
    number = len(places) if number is None else min(number, len(places))
    return [places[(2 * index + 1) * len(places) // (2 * number)] for index in range(number)]


def _tile(sample: dict[str, Any], info: dict[str, Any]) -> Tile:
    return Tile(
        info['domain'], info['img_path'],
        np.ascontiguousarray(sample['inputs'].numpy()[::-1].transpose(1, 2, 0)),  # BGR -> RGB
        sample['data_samples'].gt_sem_seg.data[0].numpy())
