#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Tabulate tests on the RSDG benchmark beside the paper's numbers.

Every number comes from a report.json that tools/test.py wrote, with the hashes of its config and
checkpoint; what was not run stays empty.

Example:
    python tools/report.py work_dirs -o report
"""

import argparse
from pathlib import Path

from crossearth.engine.cli import run_tool

PAPER, RADAR = ('rein', 'crossearth'), 'radar.png'
COLORS = {'rein': '#7f7f7f', 'crossearth': '#d98a00'}
OUR_COLORS = {'rein': '#2b6cb0', 'crossearth': '#c0392b'}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('work_dirs', nargs='*', type=Path, metavar='WORK_DIR',
                        help='folders in which to look for report.json')
    parser.add_argument('-o', '--out', type=Path, default=Path('report'),
                        help='folder of the tables and of the radar chart (default: report)')
    parser.add_argument('--paper', type=Path, metavar='PAGE',
                        help='only write the tables of the data sets and of the paper anew in this '
                             'page (docs/benchmark.md)')
    args = parser.parse_args()
    if bool(args.work_dirs) == bool(args.paper):
        parser.error('give either WORK_DIRs or --paper PAGE')
    return args


def main() -> None:
    """Write the tables."""
    args = parse_args()
    if args.paper:
        from crossearth.evaluation.benchmark_page import rewrite_page

        page = args.paper.read_text(encoding='utf-8')
        args.paper.write_text(rewrite_page(page), encoding='utf-8')
        return
    from crossearth.evaluation.runs import find_runs
    from crossearth.evaluation.table import BenchmarkTable

    runs, skipped = find_runs(args.work_dirs)
    for path, reason in skipped.items():
        print(f'left out: {path}: {reason}')
    if not runs:
        from crossearth.errors import DataError

        raise DataError(
            f"no report of a test in {', '.join(map(str, args.work_dirs))}. Test a checkpoint "
            'first: python tools/test.py CONFIG CHECKPOINT')
    table = BenchmarkTable(runs)
    write(table, skipped, args.out)
    print(f'{len(runs)} reports, {table.settings_run} of the settings: {args.out}/results.md')


def write(table: object, skipped: dict[Path, str], out: Path) -> None:
    """Write Markdown, LaTeX, CSV, JSON and the chart."""
    from crossearth.evaluation import table_files
    from crossearth.visualization import save_picture

    out.mkdir(parents=True, exist_ok=True)
    for suffix, text in (('md', table_files.table_markdown(table, skipped)),
                         ('tex', table_files.table_latex(table)),
                         ('csv', table_files.table_csv(table)),
                         ('json', table_files.table_json(table, skipped))):
        (out / f'results.{suffix}').write_text(text, encoding='utf-8')
    save_picture(chart(table), out / RADAR)


def chart(table: object) -> object:
    """Draw the radar chart: the paper's lines, and ours as far as there are numbers."""
    from crossearth.benchmark import METHODS, SETTINGS
    from crossearth.visualization.radar import RadarLine, radar_chart

    lines = [RadarLine(f'{METHODS[method]}, paper', [s.paper[method] for s in SETTINGS],
                       COLORS[method]) for method in PAPER]
    for method in PAPER:
        cells = [table.cells[found.id, method] for found in SETTINGS]
        values = [cell.ours.mean if cell.runs else None for cell in cells]
        if any(cell.runs for cell in cells):
            lines.append(RadarLine(
                f'{METHODS[method]}, ours', values, OUR_COLORS[method], ours=True))
    return radar_chart({found.id: found.table for found in SETTINGS}, lines,
                       title='RSDG benchmark: mIoU, or IoU of the foreground, %')


if __name__ == '__main__':
    run_tool(main)
