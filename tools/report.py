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

RADAR = 'radar.png'


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
    from crossearth.evaluation.runs import read_runs
    from crossearth.evaluation.table import BenchmarkTable

    runs, skipped = read_runs(args.work_dirs)
    for path, reason in skipped.items():
        print(f'left out: {path}: {reason}')
    table = BenchmarkTable(runs)
    write(table, skipped, args.out)
    print(f'{len(runs)} reports, {table.settings_run} of the settings: {args.out}/results.md')


def write(table: object, skipped: dict[Path, str], out: Path) -> None:
    """Write Markdown, LaTeX, CSV, JSON and the chart."""
    from crossearth.evaluation import table_files
    from crossearth.visualization import save_picture
    from crossearth.visualization.radar import benchmark_radar

    out.mkdir(parents=True, exist_ok=True)
    for suffix, text in (('md', table_files.table_markdown(table, skipped)),
                         ('tex', table_files.table_latex(table)),
                         ('csv', table_files.table_csv(table)),
                         ('json', table_files.table_json(table, skipped))):
        (out / f'results.{suffix}').write_text(text, encoding='utf-8')
    save_picture(benchmark_radar(table), out / RADAR)


if __name__ == '__main__':
    run_tool(main)
