# SPDX-License-Identifier: Apache-2.0
"""`crossearth info`: what a raster holds, and what a model would need of it."""

import argparse
import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

from crossearth.cli.scene_arguments import add_model, add_scenes

if TYPE_CHECKING:
    from crossearth.inference.raster import RasterInfo

__all__ = ['add_parser']

DESCRIPTION = """\
Describe rasters from their headers, and with -m say which options predict would need for them.

  crossearth info scene.tif
  crossearth info scene.tif -m MODEL
  crossearth info scenes/ --json"""


def add_parser(subparsers: Any) -> None:
    """Add `info`."""
    parser = subparsers.add_parser(
        'info', description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter,
        help='describe rasters, e.g. crossearth info scene.tif -m MODEL')
    add_scenes(parser)
    add_model(parser)
    parser.add_argument('--json', action='store_true', help='write JSON')
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from crossearth.inference.card import read_card
    from crossearth.inference.hints import needed_options
    from crossearth.inference.raster import raster_info
    from crossearth.inference.sources import find_scenes, is_remote

    card = read_card(args.model, verify=False) if args.model else None
    console = Console(highlight=False, markup=False, soft_wrap=True)
    reports = []
    for scene in find_scenes(args.scenes):
        info = raster_info(scene, remote=is_remote(scene))
        hints = needed_options(info, card, remote=is_remote(scene)) if card else []
        reports.append(_report(info) | (
            {'options': {hint.option: hint.reason for hint in hints}} if card else {}))
        if not args.json:
            console.print(_table(reports[-1]))
            if card:
                options = ''.join(f' {hint.option}' for hint in hints)
                console.print(f'  crossearth predict {shlex.quote(scene)} -m '
                              f'{shlex.quote(args.model)} -o MAP.tif{options}')
    if args.json:
        sys.stdout.write(json.dumps(reports, indent=1) + '\n')
    return 0


def _report(info: 'RasterInfo') -> dict[str, Any]:
    """Plain data for JSON and the table."""
    grid = info.grid
    return {
        'source': info.path, 'format': info.driver, 'width': grid.width, 'height': grid.height,
        'bands': info.count, 'band_names': list(info.band_names[:info.count]), 'dtype': info.dtype,
        # NaN is no JSON
        'nodata': None if info.nodata is None else str(info.nodata) if (
            info.nodata != info.nodata) else info.nodata,
        'mask': info.mask or None, 'crs': grid.crs.to_string() if grid.crs else None,
        'transform': list(grid.transform)[:6] if grid.transform is not None else None,
        'gcps': len(grid.gcps), 'gsd_m': info.gsd_m,
        'area_m2': info.gsd_m and info.gsd_m**2 * grid.width * grid.height,
        'warnings': list(info.warnings)}


def _table(report: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, title=report['source'],
                  title_justify='left')
    gsd, area = report['gsd_m'], report['area_m2']
    missing = [f'value {report["nodata"]}'] if report['nodata'] is not None else []
    missing += [report['mask']] if report['mask'] else []
    for name, text in (
        ('size', f'{report["width"]:,} x {report["height"]:,} px, {report["format"]}'),
        ('bands', f'{report["bands"]} of {report["dtype"]}: {", ".join(report["band_names"])}'),
        ('no data', ' and '.join(missing) or 'not marked'),
        ('coordinates', report['crs'] or 'none'),
        ('pixel', f'{gsd:.4g} m' if gsd else 'of unknown size'),
        ('area', f'about {area / 1e6:,.4g} km2' if area else 'unknown'),
        *(('note', warning) for warning in report['warnings']),
        *((option, reason) for option, reason in report.get('options', {}).items()),
    ):
        table.add_row(name, text)
    return table
