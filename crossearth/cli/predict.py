# SPDX-License-Identifier: Apache-2.0
"""`crossearth predict`: rasters of any size -> georeferenced maps."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossearth.cli.predict_report import plan_text, print_report, print_skipped, progress_bar
from crossearth.cli.scene_arguments import TILES, add_model, add_reading_options, add_scenes
from crossearth.errors import ConfigError, CrossEarthError

if TYPE_CHECKING:
    from rich.console import Console

    from crossearth.inference.cluster import Gauge, Job, Outcome
    from crossearth.inference.predictor import Predictor
    from crossearth.inference.scene import SceneOptions

__all__ = ['add_parser']

DESCRIPTION = """\
Segment rasters of any size with a model bundle. The map has the raster's georeferencing, one class
for each pixel, and 255 where the raster holds no data.

  crossearth predict scene.tif -m MODEL -o map.tif
  crossearth predict scenes/ -m MODEL -o maps/ --resume
  crossearth predict 'scenes/*.tif' https://host/scene.tif -m MODEL -o maps/
  crossearth predict scene.tif -m MODEL -o map.tif --bands 4,1,2 --scale 0,3000
  crossearth predict scene.tif -m MODEL -o map.tif --vector map.gpkg --min-area 50 --aoi town.gpkg

A large raster is cut into overlapping tiles whose scores are blended; memory grows with the width
of the raster, not with its area. Nothing lies under the name of an output before it is whole.

  crossearth predict scenes/ -m MODEL -o maps/ --engine ray --ray-address auto --ray-workers 8

On a Ray cluster scenes, the model and the outputs lie on storage that all machines share under the
same paths. A lone scene is cut into bands of rows, one for each worker; the map has the same bytes
either way. A worker that dies is replaced and its scene tried again, three times in all. OUT gets a
manifest.jsonl: scene, output, status, seconds, worker, attempts and sha256 of each map."""

EPILOG = """\
Exit status: 0 done; 1 some scenes failed; 2 an error that you can mend; 130
interrupted. crossearth info SCENE says what a raster holds and which options it needs."""

SUFFIXES = {'confidence': '.confidence.tif', 'scores': '.scores.tif', 'vector': '.gpkg'}


def add_parser(subparsers: Any) -> None:
    """Add `predict`."""
    parser = subparsers.add_parser(
        'predict', description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help='map rasters, e.g. crossearth predict scene.tif -m MODEL -o map.tif')
    add_scenes(parser)
    add_model(parser, required=True)
    parser.add_argument('-o', '--output', required=True, metavar='OUT',
                        help='the map (.tif); for several scenes a folder')
    add_reading_options(parser.add_argument_group('how a scene is read'))
    _add_running(parser.add_argument_group('how it is mapped'))
    _add_writing(parser.add_argument_group('what is written'))
    _add_engine(parser.add_argument_group('where it runs'))
    parser.set_defaults(run=_run)


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
    group.add_argument('--gap', action='store_true',
                       help='report how far each scene is from what the model was trained on, as '
                            'crossearth gap does')
    group.add_argument('--json', action='store_true',
                       help='report on stdout as JSON, everything else on stderr')


def _add_engine(group: Any) -> None:
    group.add_argument('--engine', choices=('local', 'ray'), default='local',
                       help='local: this process (default); ray: the workers of a Ray cluster')
    group.add_argument('--ray-address', metavar='ADDRESS',
                       help='a running cluster, e.g. auto for that of this machine (default: one '
                            'is started here)')
    group.add_argument('--ray-workers', type=_positive, metavar='N',
                       help='models at work (default: one for each graphics card, or for every '
                            'four CPUs where there is none)')
    group.add_argument('--split-rows', type=_natural, metavar='N',
                       help='cut each scene into bands of N rows, kept beside the map until it is '
                            'whole (default: only a lone scene, a band for each worker); 0: never')


def _natural(text: str) -> int:
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError(f'{value} is below 0')
    return value


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f'{value} is below 1')
    return value


# ------------------------------------------------------------------------- the run

def _run(args: argparse.Namespace) -> int:
    from functools import partial

    from rich.console import Console

    from crossearth.evaluation.domain_gap import gap_gauge
    from crossearth.inference.cluster import Job
    from crossearth.inference.gap import KNOWN_GAPS
    from crossearth.inference.scene import load_model
    from crossearth.inference.sources import find_scenes, name_outputs

    console = Console(stderr=args.json, highlight=False, markup=False, soft_wrap=True)
    scenes = find_scenes(args.scenes)
    outputs = name_outputs(scenes, args.output)
    extras = {kind: name_outputs(scenes, getattr(args, kind), suffix)
              for kind, suffix in SUFFIXES.items() if getattr(args, kind)}
    _check_distinct([*outputs, *(path for paths in extras.values() for path in paths)])
    options = _options(args)
    jobs = [Job(scene, output, replace(options, **dict(zip(extras, files, strict=True))))
            for scene, output, *files in zip(scenes, outputs, *extras.values(), strict=True)]
    model = Path(args.model).absolute() if args.engine == 'ray' else args.model
    load = partial(load_model, model, device=args.device, amp=args.amp, tta=args.tta,
                   runtime=args.runtime)
    gauge = partial(gap_gauge, model, TILES) if args.gap else None
    run = _on_cluster if args.engine == 'ray' else _here
    report = run(args, jobs, load, gauge, console)
    if failed := report['failed']:
        names = ''.join(f'\n  {entry["source"]}' for entry in failed)
        console.print(f'{len(failed)} of {len(scenes)} scenes failed:{names}')
    if args.gap:
        report['scale'] = [asdict(known) for known in KNOWN_GAPS]
    if args.json:
        sys.stdout.write(json.dumps(report, indent=1) + '\n')
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
    if args.engine != 'ray' and {args.ray_address, args.ray_workers, args.split_rows} != {None}:
        raise ConfigError('--ray-address, --ray-workers and --split-rows need --engine ray.')
    return SceneOptions(**{name: getattr(args, name) for name in names},
                        check_disk=not args.no_disk_check)


def _here(
    args: argparse.Namespace,
    jobs: list['Job'],
    load: Callable[[], 'Predictor'],
    make_gauge: Callable[['Predictor'], 'Gauge'] | None,
    console: 'Console',
) -> dict[str, Any]:
    """Map scenes in this process; the report as plain data."""
    predictor = load()
    gauge = make_gauge(predictor) if make_gauge else None
    done, failed = [], []
    for index, job in enumerate(jobs):
        if len(jobs) > 1:
            console.print(f'[{index + 1}/{len(jobs)}] {job.source}')
        try:
            done.append(_map_scene(job, predictor, gauge, console))
        except CrossEarthError as error:
            if len(jobs) == 1:
                raise
            failed.append({'source': job.source, 'error': str(error)})
            console.print(f'  failed: {error}')
    return {'scenes': done, 'failed': failed}


def _map_scene(
    job: 'Job', predictor: 'Predictor', gauge: 'Gauge | None', console: 'Console'
) -> dict[str, Any]:
    """Map one scene; the report as plain data."""
    from crossearth.inference.scene import finish_scene, predict_scene

    if files := finish_scene(job.output, predictor, job.options):
        gap = gauge(job.source, job.options) if gauge else None
        print_skipped(files, gap, console)
        return _entry(job.source, {'outputs': files, 'skipped': True}, gap)
    with progress_bar(console) as progress:
        report = predict_scene(
            job.source, predictor, job.output, job.options, progress=progress,
            planned=lambda plan, reader: console.print(plan_text(plan, reader)),
            warn=lambda text: console.print(f'  warning: {text}'))
    gap = gauge(job.source, job.options) if gauge else None
    print_report(report, gap, console)
    return _entry(job.source, report.as_dict(), gap)


def _entry(
    source: str, found: Mapping[str, Any], gap: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A scene in the report."""
    return {'source': source, **found, **({} if gap is None else {'gap': gap})}


def _on_cluster(
    args: argparse.Namespace,
    jobs: list['Job'],
    load: Callable[[], 'Predictor'],
    make_gauge: Callable[['Predictor'], 'Gauge'] | None,
    console: 'Console',
) -> dict[str, Any]:
    """Map scenes on a cluster; the report as plain data."""
    from crossearth.inference.card import read_card
    from crossearth.inference.cluster import predict_scenes, write_manifest

    output = Path(args.output)
    manifest = (output.with_suffix('.manifest.jsonl') if jobs[0].output == output
                else output / 'manifest.jsonl')
    read_card(args.model, verify=False)  # says what is wrong before a cluster starts
    outcomes: list[Outcome] = []
    # Ray tells of dead workers on stdout, where only JSON belongs
    with redirect_stdout(sys.stderr) if args.json else nullcontext():
        try:
            for outcome in predict_scenes(
                    [_absolute(job) for job in jobs], load, gauge=make_gauge,
                    address=args.ray_address, workers=args.ray_workers,
                    split_rows=args.split_rows, graphics=args.device != 'cpu'):
                outcomes.append(outcome)
                _print_outcome(outcome, f'[{len(outcomes)}/{len(jobs)}]', console)
        finally:
            if outcomes:
                write_manifest(manifest, outcomes)
                console.print(f'-> {manifest} (manifest)')
    return {
        'scenes': [_outcome_entry(outcome) for outcome in outcomes if outcome.status != 'failed'],
        'failed': [{'source': outcome.scene, 'error': outcome.error} for outcome in outcomes
                   if outcome.status == 'failed'],
        'manifest': str(manifest)}


def _absolute(job: 'Job') -> 'Job':
    """With paths that do not depend on the folder of a process."""
    from crossearth.inference.sources import is_remote

    files: dict[str, Any] = {name: Path(path).absolute() for name in ('aoi', *SUFFIXES)
                             if (path := getattr(job.options, name))}
    source = job.source if is_remote(job.source) else str(Path(job.source).absolute())
    return replace(job, source=source, output=job.output.absolute(),
                   options=replace(job.options, **files))


def _print_outcome(outcome: 'Outcome', counter: str, console: 'Console') -> None:
    console.print(f'{counter} {outcome.scene} ({outcome.worker or "no worker"}, attempts: '
                  f'{outcome.attempts})')
    if outcome.report:  # its time is that of the last step
        print_report(replace(outcome.report, seconds=outcome.seconds), outcome.gap, console)
    elif outcome.status == 'failed':
        console.print(f'  failed: {outcome.error}')
    else:
        print_skipped(outcome.outputs, outcome.gap, console)


def _outcome_entry(outcome: 'Outcome') -> dict[str, Any]:
    found = outcome.report.as_dict() if outcome.report else {'outputs': dict(outcome.outputs)}
    skipped = {'skipped': True} if outcome.status == 'skipped' else {}
    return _entry(outcome.scene, {
        **found, **skipped, 'seconds': outcome.seconds, 'worker': outcome.worker,
        'attempts': outcome.attempts, 'sha256': outcome.sha256}, outcome.gap)
