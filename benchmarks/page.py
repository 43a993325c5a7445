#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Tables of results/*.json as Markdown: results/README.md, which the documentation includes.

Run: python benchmarks/page.py
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from crossearth.evaluation.text_table import TextTable

RESULTS = Path(__file__).parent / 'results'
PAGE = 'README.md'

# benchmark -> title, and what is to be known to read it
TITLES = {
    'inference': ('Inference', 'Rein with Mask2Former; the large image in overlapping windows.'),
    'train_step': (
        'Training step, whole method',
        'Loss and backward pass of X and X_M, and of X_S in a styled iteration; one iteration in '
        'ten is styled.'),
    'train_step_segmentation': (
        'Training step, segmentation flow', 'Loss and backward pass of Rein with Mask2Former.'),
    'modules': ('Parts', 'Each as often as `calls` says for one image version.'),
    'memory': ('Peak memory of a training step, whole method', ''),
    'memory_segmentation': ('Peak memory of a training step, segmentation flow', ''),
    'scaling': ('Inference over crop, batch and backbone', 'Ours alone.'),
    'data_loading': ('Augmented crops', 'From PNG tiles on the disk to a batch of the loader.'),
    'data_loading_uncompressed': (
        'Augmented crops of uncompressed tiles',
        'The same from tiles of `crossearth data prepare --uncompressed`.'),
    'dist': ('Training with several processes', 'Ours alone; the processes share the cores.'),
}


def main() -> int:
    """Write the page."""
    (RESULTS / PAGE).write_text(page(RESULTS), encoding='utf-8')
    print(f'-> {RESULTS / PAGE}')
    return 0


def page(folder: Path) -> str:
    """Give the tables of all results in a folder, in the order of `TITLES`."""
    results = [json.loads(path.read_text(encoding='utf-8'))
               for path in sorted(folder.glob('*.json'))]
    results.sort(key=lambda result: (
        list(TITLES).index(result['benchmark']), result['settings']['size']))
    parts = [section(result) for result in results]
    found = {result['benchmark'] for result in results}
    missing = [title for name, (title, _) in TITLES.items() if name not in found]
    if not any(result['settings']['device'] == 'cuda' for result in results):
        missing.append('anything on a GPU')
    if missing:
        listed = [f'* {name}' for name in missing]
        parts.append('\n'.join(['### Not measured yet', '', *listed, '']))
    return '\n'.join(['<!-- made by benchmarks/page.py -->\n', *parts])


def section(result: dict[str, Any]) -> str:
    """Title, circumstances and table of one result."""
    title, remark = TITLES[result['benchmark']]
    settings, machine = result['settings'], result['machine']
    single = result['benchmark'] in ('scaling', 'data_loading', 'data_loading_uncompressed')
    subject = f'{settings["size"]} px' if single else (
        f'ViT-{settings["model"].upper()}, {settings["size"]} px, batch {settings["batch"]}')
    facts = (f'{subject}, {settings["precision"]}, {settings["device"]}, {settings["repeats"]} '
             f'rounds. {machine["machine"]}, {machine["threads"]} threads, torch '
             f'{machine["torch"]}, {machine["date"]}, commit {machine["commit"]}.')
    lines = [f'### {title}: {subject}', '', ' '.join(filter(None, (remark, facts))), '']
    return '\n'.join([*lines, *table(result['rows']), ''])


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of a table with the columns that any of the rows can fill."""
    cells = [dict(columns(row)) for row in rows]
    header = list(dict.fromkeys(name for row in cells for name in row))
    body = [[row.get(name, '') for name in header] for row in cells]
    return TextTable('', header, body).markdown().splitlines()


def columns(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Names and texts of a row's cells."""
    yield '', row['name']
    names = {'reference': 'plain', 'ours': 'ours', 'checkpointing': 'checkpointing'}
    variants = {names[key]: found for key, found in row['variants'].items()}
    for name, found in variants.items():
        if 'wall_s' in found:
            yield f'{name}, s', spread(found['wall_s'])
        if 'peak_mb' in found:
            yield f'{name}, GB', f'{found["peak_mb"] / 1024:.2f}'
    if 'ratio' in row:
        yield 'ratio', f'**{spread(row["ratio"])}**'
    for name, found in variants.items():
        if 'share_of_peak' in found:
            yield f'{name}, share of GEMM peak', f'{found["share_of_peak"]:.0%}'
    if row.get('difference'):
        yield 'largest difference', f'{max(row["difference"].values()):.0e}'
    for name, value in row.get('figures', {}).items():
        if not name.startswith('float32_'):
            yield name.replace('_', ' '), number(value)


def spread(values: dict[str, float]) -> str:
    """Median, and range in brackets where there is one."""
    median = number(values['median'])
    low, high = number(values['min']), number(values['max'])
    return median if low == high else f'{median} ({low} to {high})'


def number(value: float) -> str:
    """Three digits; of a whole number those it has."""
    if value >= 100 or float(value).is_integer():
        return f'{value:,.0f}'
    return f'{value:.2f}' if 1 <= value < 10 else f'{value:.3g}'


if __name__ == '__main__':
    sys.exit(main())
