# SPDX-License-Identifier: Apache-2.0
"""`crossearth predict`: rasters of any size -> georeferenced maps."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossearth.errors import ConfigError, CrossEarthError

if TYPE_CHECKING:
    from rich.console import Console

    from crossearth.inference.pipeline import Plan, PredictionReport
    from crossearth.inference.predictor import Predictor
    from crossearth.inference.raster import RasterReader
    from crossearth.inference.scene import SceneOptions

__all__ = ['add_parser', 'add_reading_options']

DESCRIPTION = """\
Segment rasters of any size with a model bundle. The map has the raster's georeferencing, one class
for each pixel, and 255 where the raster holds no data.

  crossearth predict scene.tif -m MODEL -o map.tif
  crossearth predict scenes/ -m MODEL -o maps/ --resume
  crossearth predict 'scenes/*.tif' https://host/scene.tif -m MODEL -o maps/
  crossearth predict scene.tif -m MODEL -o map.tif --bands 4,1,2 --scale 0,3000
  crossearth predict scene.tif -m MODEL -o map.tif --vector map.gpkg --min-area 50 --aoi town.gpkg

A large raster is cut into overlapping tiles whose scores are blended; memory grows with the width
of the raster, not with its area. Nothing lies under the name of an output before it is whole."""

EPILOG = """\
Exit status: 0 done; 1 some scenes of several failed; 2 an error that you can mend; 130
interrupted. crossearth info SCENE says what a raster holds and which options it needs."""

ESTIMATE_AFTER = 5.0  # seconds of work before its length is foretold in a pipe
SUFFIXES = {'confidence': '.confidence.tif', 'scores': '.scores.tif', 'vector': '.gpkg'}


def add_parser(subparsers: Any) -> None:
    """Add `predict`."""
    parser = subparsers.add_parser(
        'predict', description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help='map rasters, e.g. crossearth predict scene.tif -m MODEL -o map.tif')
    parser.add_argument('scenes', nargs='+', metavar='IN',
                        help='rasters, folders, patterns, https:// or s3:// addresses')
    parser.add_argument('-m', '--model', required=True, metavar='BUNDLE',
                        help='folder of crossearth export bundle')
    parser.add_argument('-o', '--output', required=True, metavar='OUT',
                        help='the map (.tif); for several scenes a folder')
    add_reading_options(parser.add_argument_group('how a scene is read'))
    _add_running(parser.add_argument_group('how it is mapped'))
    _add_writing(parser.add_argument_group('what is written'))
    parser.set_defaults(run=_run)


def add_reading_options(group: Any) -> None:
    """Add the options that say how a scene is read; `gap` has them too."""
    group.add_argument('--bands', type=_bands, metavar='N,N,N',
                       help="numbers of the bands, from 1, in the model's order, e.g. 4,1,2")
    group.add_argument('--scale', type=_scale, metavar='LO,HI',
                       help='values that become 0 and 255, for other than 8-bit data; HI alone '
                            'starts at 0')
    group.add_argument('--gsd', default='native', metavar='model|native|M',
                       help="pixel size to work at: the model's, the raster's (default), or metres")
    group.add_argument('--aoi', metavar='FILE',
                       help='map only what lies inside the polygons of this vector file')
    group.add_argument('--on-bad-tile', choices=('fail', 'nodata'), default='fail',
                       help='what becomes of places that cannot be read (default: %(default)s)')


def _add_running(group: Any) -> None:
    group.add_argument('--tile', type=_positive, default=0, metavar='PX',
                       help="side of a tile (default: the model's training crop)")
    group.add_argument('--overlap', type=int, metavar='PX',
                       help='least overlap of tiles (default: as the model was tested, or a '
                            'quarter)')
    group.add_argument('--batch', type=_positive, default=4, metavar='N',
                       help='tiles at once (default: %(default)s); halved where memory runs out')
    group.add_argument('--workers', type=_positive, default=2, metavar='N',
                       help='reading threads (default: %(default)s)')
    group.add_argument('--tta', choices=('none', 'd4'), default='none',
                       help='d4: mean over eight flips and turns, eight times slower')
    group.add_argument('--device', default='auto', metavar='NAME',
                       help='auto (default), cpu, cuda, cuda:1, mps')
    group.add_argument('--amp', action='store_true', help='compute in bfloat16 where it is safe')
    group.add_argument('--runtime', choices=('torch', 'onnx'), default='torch',
                       help='onnx: run the model.onnx of crossearth export onnx')


def _add_writing(group: Any) -> None:
    for name, text in (('confidence', "the winner's share of the scores in percent (.tif)"),
                       ('scores', 'the share of every class in percent (.tif)'),
                       ('vector', 'polygons (.gpkg, .geojson, .fgb)')):
        group.add_argument(f'--{name}', metavar='FILE', help=f'{text}; a folder for several scenes')
    group.add_argument('--min-area', type=float, default=0.0, metavar='M2',
                       help='leave out smaller polygons')
    group.add_argument('--simplify', type=float, default=0.0, metavar='M',
                       help='tolerance of simplified borders; neighbours stay joined')
    group.add_argument('--allow-no-crs', action='store_true',
                       help='polygons in pixels where the raster has no coordinate system')
    group.add_argument('--cog', action='store_true',
                       help='write Cloud Optimized GeoTIFFs with overviews')
    group.add_argument('--overwrite', action='store_true', help='replace existing files')
    group.add_argument('--resume', action='store_true',
                       help='keep finished rows beside the map, go on from those of an interrupted '
                            'run, and skip maps that are there')
    group.add_argument('--no-disk-check', action='store_true',
                       help='start even where the disk may be too small')
    group.add_argument('--json', action='store_true',
                       help='report on stdout as JSON, everything else on stderr')


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f'{value} is below 1')
    return value


def _bands(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(',')]
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is no list such as 4,1,2') from None


def _scale(text: str) -> tuple[float, float]:
    try:
        values = [float(part) for part in text.split(',')]
        low, high = values if len(values) > 1 else (0.0, *values)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is neither LO,HI nor HI') from None
    return low, high


# ------------------------------------------------------------------------- the run

def _run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from crossearth.inference.scene import load_model
    from crossearth.inference.sources import find_scenes, name_outputs

    console = Console(stderr=args.json, highlight=False, markup=False, soft_wrap=True)
    scenes = find_scenes(args.scenes)
    outputs = name_outputs(scenes, args.output)
    extras = {kind: name_outputs(scenes, getattr(args, kind), suffix)
              for kind, suffix in SUFFIXES.items() if getattr(args, kind)}
    _check_distinct([*outputs, *(path for paths in extras.values() for path in paths)])
    options = _options(args)
    predictor = load_model(args.model, device=args.device, amp=args.amp, tta=args.tta,
                           runtime=args.runtime)
    done, failed = [], []
    for index, (scene, output) in enumerate(zip(scenes, outputs, strict=True)):
        files: dict[str, Any] = {kind: paths[index] for kind, paths in extras.items()}
        mine = replace(options, **files)
        if len(scenes) > 1:
            console.print(f'[{index + 1}/{len(scenes)}] {scene}')
        try:
            done.append(_map_scene(scene, predictor, output, mine, console))
        except CrossEarthError as error:
            if len(scenes) == 1:
                raise
            failed.append({'source': scene, 'error': str(error)})
            console.print(f'  failed: {error}')
    if failed:
        names = ''.join(f'\n  {entry["source"]}' for entry in failed)
        console.print(f'{len(failed)} of {len(scenes)} scenes failed:{names}')
    if args.json:
        sys.stdout.write(json.dumps({'scenes': done, 'failed': failed}, indent=1) + '\n')
    return int(bool(failed))


def _check_distinct(paths: list[Path]) -> None:
    resolved = [path.resolve() for path in paths]
    for index, path in enumerate(resolved):
        if path in resolved[:index]:
            raise ConfigError(f'Two outputs would be {paths[index]}. Give each a file of its own.')


def _options(args: argparse.Namespace) -> 'SceneOptions':
    from crossearth.inference.scene import SceneOptions

    names = ('tile', 'overlap', 'batch', 'workers', 'bands', 'scale', 'gsd', 'aoi', 'on_bad_tile',
             'min_area', 'simplify', 'allow_no_crs', 'cog', 'overwrite', 'resume')
    return SceneOptions(**{name: getattr(args, name) for name in names},
                        check_disk=not args.no_disk_check)


def _map_scene(
    scene: str, predictor: 'Predictor', output: Path, options: 'SceneOptions', console: 'Console'
) -> dict[str, Any]:
    """Map one scene; the report as plain data."""
    from crossearth.inference.scene import finish_scene, predict_scene

    if files := finish_scene(output, predictor, options):
        console.print('  finished before:')
        _print_outputs(files, console)
        return {'source': scene, 'outputs': files, 'skipped': True}
    with _progress(console) as progress:
        report = predict_scene(
            scene, predictor, output, options, progress=progress,
            planned=lambda plan, reader: console.print(_planned(plan, reader)),
            warn=lambda text: console.print(f'  warning: {text}'))
    _print_report(report, console)
    return {'source': scene, **report.as_dict()}


def _planned(plan: 'Plan', reader: 'RasterReader') -> str:
    size = f'{reader.width:,} x {reader.height:,} px'
    gsd = f' of {reader.info.gsd_m:.3g} m' if reader.info.gsd_m else ''
    lines = [f'  {size}{gsd}, {plan.tiles:,} tiles',
             f'  memory {_bytes(plan.memory_bytes)} besides the model; disk up to '
             f'{_bytes(plan.disk_bytes)}, {_bytes(plan.free_bytes)} free',
             *(f'  note: {warning}' for warning in reader.info.warnings)]
    return '\n'.join(lines)


def _bytes(size: float) -> str:
    return f'{size / 1e9:,.1f} GB' if size >= 1e9 else f'{max(size / 1e6, 0.1):,.1f} MB'


# ------------------------------------------------------------------------- output

@contextmanager
def _progress(console: 'Console') -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal; elsewhere one line that says how long it will take."""
    if not console.is_terminal:
        yield _forecast(console)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Tiles a second."""

        def render(self, task: Any) -> Text:
            return Text(f'{task.speed:.1f} tiles/s' if task.speed else '')

    columns = (BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task('', total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _forecast(console: 'Console') -> Callable[[int, int], None]:
    start: list[tuple[float, int]] = []
    told: list[bool] = []

    def tell(done: int, total: int) -> None:
        now = time.perf_counter()
        start.extend([(now, done)] if not start else [])
        elapsed, tiles = now - start[0][0], done - start[0][1]
        if not told and tiles and elapsed > ESTIMATE_AFTER:
            told.append(True)
            left = (total - done) * elapsed / tiles
            console.print(f'  {tiles / elapsed:.1f} tiles/s, about {left / 60:.0f} min left')

    return tell


def _print_report(report: 'PredictionReport', console: 'Console') -> None:
    from rich.table import Table

    pixels, areas = report.pixels, report.square_metres
    valid = sum(pixels.values()) - pixels['no data']
    table = Table(box=None, padding=(0, 1, 0, 2))
    for column in ('class', '%', *(['km2'] if areas else [])):
        table.add_column(column, justify='left' if column == 'class' else 'right')
    for name, count in pixels.items():
        if name == 'no data':
            continue
        share = 100 * count / max(valid, 1)
        table.add_row(name, f'{share:.1f}', *([f'{areas[name] / 1e6:,.4g}'] if areas else []))
    console.print(table)
    if pixels['no data']:
        share = 100 * pixels['no data'] / sum(pixels.values())
        console.print(f'  {share:.1f} % of the raster holds no data')
    if report.bad_tiles:
        console.print(f'  {len(report.bad_tiles)} tiles could not be read and were left empty; the '
                      f'first: {report.bad_tiles[0]}')
    for warning in report.warnings:
        console.print(f'  note: {warning}')
    console.print(f'  {report.tiles:,} tiles of {report.tile} px in {report.seconds:,.1f} s')
    _print_outputs(report.outputs, console)


def _print_outputs(outputs: Any, console: 'Console') -> None:
    for kind, path in outputs.items():
        console.print(f'-> {path}' + ('' if kind == 'map' else f' ({kind})'))
