# SPDX-License-Identifier: Apache-2.0
"""`crossearth gap`: how far is a scene from what a model was trained on?"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossearth.cli.scene_arguments import TILES, add_model, add_reading_options, add_scenes
from crossearth.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rich.console import Console

    from crossearth.evaluation.domain_gap import TrainingDomain
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

ROWS = 20  # scenes in the table


def add_parser(subparsers: Any) -> None:
    """Add `gap`."""
    parser = subparsers.add_parser(
        'gap', description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help='distance of scenes to the training domain, e.g. crossearth gap scene.tif -m MODEL')
    add_scenes(parser)
    known = parser.add_mutually_exclusive_group(required=True)
    add_model(known)
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
    import numpy as np
    from rich.console import Console

    from crossearth.evaluation.domain_gap import (
        bundle_domain,
        folder_domain,
        measure_scene,
        spread,
    )
    from crossearth.inference.gap import KNOWN_GAPS
    from crossearth.inference.sources import find_scenes, name_outputs

    console = Console(stderr=args.json, highlight=False, markup=False, soft_wrap=True)
    scenes = find_scenes(args.scenes)
    heatmaps = name_outputs(scenes, args.heatmap, '.gap.tif') if args.heatmap else []
    options = _options(args)
    if args.model:
        domain = bundle_domain(args.model, device=args.device, style=args.style)
    else:
        domain = folder_domain(args.reference, options, device=args.device, style=args.style)
    options = options.fitted(domain.card)
    for note in domain.notes:
        console.print(f'note: {note}')
    reports: list[dict[str, Any]] = []
    vectors: list[dict[str, np.ndarray]] = []
    chosen = list(zip(scenes, heatmaps, strict=True)) if heatmaps else [
        (scene, None) for scene in spread(scenes, args.tiles)]
    limit = None if heatmaps else -(-args.tiles // len(chosen))
    for scene, heatmap in chosen:
        try:
            found, report = measure_scene(scene, domain, options, limit, heatmap=heatmap,
                                          overwrite=args.overwrite)
        except DataError as error:
            # the last one may be the only one with data
            if not reports and scene == chosen[-1][0]:
                raise DataError(f'{scene}: {error}') from error
            console.print(f'note: {scene} is left out: {error}')
            continue
        reports.append({'source': scene, **report})
        vectors.append(found)
    joined = {kind: np.concatenate([found[kind] for found in vectors])
              for kind in domain.references}
    result = {'reference': domain.name, 'tile': options.tile, 'scenes': reports,
              'all': domain.compare(joined), 'scale': [asdict(gap) for gap in KNOWN_GAPS],
              'notes': list(domain.notes)}
    _print(result, domain, console)
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


# ------------------------------------------------------------------------- output

def _print(result: Mapping[str, Any], domain: 'TrainingDomain', console: 'Console') -> None:
    from rich.table import Table

    kinds = list(domain.references)
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
    for values, name in sorted(lines, key=lambda line: line[0][domain.kind]):
        console.print('  ' + '  '.join(f'{kind} {values[kind]:4.2f}' for kind in kinds)
                      + f'  {name}')
    console.print(f'verdict ({domain.kind}): {result["all"]["verdict"]}')
