# SPDX-License-Identifier: Apache-2.0
"""What `crossearth predict` prints: the plan, the progress, and what became of a scene."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from crossearth.inference.pipeline import Plan, PredictionReport
    from crossearth.inference.raster import RasterReader

__all__ = ['plan_text', 'print_report', 'print_skipped', 'progress_bar']

ESTIMATE_AFTER = 5.0  # seconds of work before its length is foretold in a pipe


def plan_text(plan: 'Plan', reader: 'RasterReader') -> str:
    """What a run needs, before it starts."""
    size = f'{reader.width:,} x {reader.height:,} px'
    gsd = f' of {reader.info.gsd_m:.3g} m' if reader.info.gsd_m else ''
    lines = [f'  {size}{gsd}, {plan.tiles:,} tiles',
             f'  memory {_bytes(plan.memory_bytes)} besides the model; disk up to '
             f'{_bytes(plan.disk_bytes)}, {_bytes(plan.free_bytes)} free',
             *(f'  note: {warning}' for warning in reader.info.warnings)]
    return '\n'.join(lines)


def _bytes(size: float) -> str:
    return f'{size / 1e9:,.1f} GB' if size >= 1e9 else f'{max(size / 1e6, 0.1):,.1f} MB'


@contextmanager
def progress_bar(console: 'Console') -> Iterator[Callable[[int, int], None]]:
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


def print_report(
    report: 'PredictionReport', gap: Mapping[str, Any] | None, console: 'Console'
) -> None:
    """What a run did, its files last.

    Args:
        report: The run's.
        gap: Of the scene, as of `gap_gauge`; None if it was not asked for.
        console: Where to.
    """
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
    _print_gap(gap, console)
    _print_outputs(report.outputs, console)


def print_skipped(
    outputs: Mapping[str, str], gap: Mapping[str, Any] | None, console: 'Console'
) -> None:
    """The files of an earlier run."""
    console.print('  finished before:')
    _print_gap(gap, console)
    _print_outputs(outputs, console)


def _print_gap(gap: Mapping[str, Any] | None, console: 'Console') -> None:
    from crossearth.inference.gap import KINDS

    if gap is None:
        return
    if 'error' in gap:
        console.print(f'  note: the gap is not known. {gap["error"]}')
        return
    kinds = [kind for kind in KINDS if kind in gap]
    shifts = ', '.join(f'{kind} shift {gap[kind]["shift"]:.2f} ({gap[kind]["outside"]:.0%} outside)'
                       for kind in kinds)
    console.print(f'  gap to {gap["reference"]}, {gap[kinds[0]]["tiles"]} tiles: {shifts}')
    console.print(f'  known gaps ({kinds[0]}): {gap["place"]}')
    console.print(f'  verdict ({kinds[0]}): {gap["verdict"]}')
    for note in gap['notes']:
        console.print(f'  note: {note}')


def _print_outputs(outputs: Mapping[str, str], console: 'Console') -> None:
    for kind, path in outputs.items():
        console.print(f'-> {path}' + ('' if kind == 'map' else f' ({kind})'))
