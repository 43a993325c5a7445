# SPDX-License-Identifier: Apache-2.0
"""Radar charts of many settings or domains, as Fig. 2 of CrossEarth (arXiv 2410.22629)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossearth.benchmark import METHODS, SETTINGS
from crossearth.evaluation.table import BenchmarkTable, FreeTable
from crossearth.evaluation.table_files import table_csv
from crossearth.weight_files import write_atomically

from .charts import COLORS, MARKERS, chart_figure, rendered
from .pictures import save_picture

__all__ = ['RadarLine', 'benchmark_radar', 'free_radar', 'radar_chart', 'write_radars']

SIZE = 8.5                          # inches
RING, HIGHEST = 20, 100             # percent
MIN_AXES = 3                        # fewer are no chart
PLATE = {'boxstyle': 'round,pad=0.1', 'facecolor': 'white', 'edgecolor': 'none', 'alpha': 0.8}
PAPER_COLORS = {'rein': '#7f7f7f', 'crossearth': '#d98a00'}
OUR_COLORS = {'rein': '#2b6cb0', 'crossearth': '#c0392b'}
GROUP_COLORS = ('#1b6ca8', '#b5485d', '#3d8b5f', '#8a6d1f', '#6f4fa0', '#33838c')


@dataclass(frozen=True)
class RadarLine:
    """One line.

    Args:
        title: Its name in the legend.
        values: Percent on each axis; None leaves the axis open.
        color: Its colour, as matplotlib names it.
        ours: Whether it is drawn thick with marks, over the thin lines of others.
        marker: Its marks, as matplotlib names them.
    """

    title: str
    values: Sequence[float | None]
    color: str
    ours: bool = False
    marker: str = 'o'


def radar_chart(
    axes: Mapping[str, str], lines: Sequence[RadarLine], title: str | None = None
) -> NDArray[np.uint8]:
    """Draw percentages on one axis per setting.

    A line is broken where an axis has no number; a number between two such axes is a mark.

    Args:
        axes: Names of the axes, clockwise from the top -> the group of each, which has a colour.
        lines: What is drawn, the last on top.
        title: Line above the chart.

    Returns:
        RGB picture (H, W, 3).

    Raises:
        ValueError: A line has not one value per axis.
    """
    for line in lines:
        if len(line.values) != len(axes):
            raise ValueError(f'{line.title} has {len(line.values)} values for {len(axes)} axes')
    figure = chart_figure(SIZE, SIZE)
    chart = figure.add_subplot(projection='polar')
    angles = np.linspace(0, 2 * np.pi, len(axes), endpoint=False)
    _dress(chart, angles, axes, _top(lines))
    for line in lines:
        _draw(chart, angles, line)
    if title:
        figure.suptitle(title, fontsize=13, fontweight='bold')
    figure.legend(loc='outside lower center', ncols=min(len(lines), 4), frameon=False, fontsize=10)
    return rendered(figure)


def benchmark_radar(table: BenchmarkTable) -> NDArray[np.uint8]:
    """Draw the settings of the benchmark: the paper's lines, and ours as far as there are numbers.

    Args:
        table: Our runs.

    Returns:
        RGB picture (H, W, 3).
    """
    lines = [RadarLine(f'{METHODS[method]}, paper', [found.paper[method] for found in SETTINGS],
                       color) for method, color in PAPER_COLORS.items()]
    for method, color in OUR_COLORS.items():
        cells = [table.cells[found.id, method] for found in SETTINGS]
        if any(cell.runs for cell in cells):
            values = [cell.ours.mean if cell.runs else None for cell in cells]
            lines.append(RadarLine(f'{METHODS[method]}, ours', values, color, ours=True))
    return radar_chart({found.id: found.table for found in SETTINGS}, lines,
                       title='RSDG benchmark: mIoU, or IoU of the foreground, %')


def free_radar(free: FreeTable) -> NDArray[np.uint8]:
    """Draw runs outside the benchmark: an axis for each domain, a line for each method.

    Args:
        free: Runs of one source on the same domains.

    Returns:
        RGB picture (H, W, 3).
    """
    domains = [*free.seen, *free.unseen]
    axes = {name.replace('_', ' ') + (' (source)' if name in free.seen else ''):
            'source' if name in free.seen else 'unseen' for name in domains}
    lines = []
    for index, (title, runs) in enumerate(free.rows.items()):
        numbers = free.numbers([run.report for run in runs], free.metric)
        means = [numbers[name].mean for name in domains]
        lines.append(RadarLine(title, [None if np.isnan(mean) else mean for mean in means],
                               COLORS[index % len(COLORS)], ours=True,
                               marker=MARKERS[index % len(MARKERS)]))
    return radar_chart(axes, lines, title=f'{free.metric}, %, trained on '
                       f"{', '.join(free.source).replace('_', ' ')}")


def write_radars(table: BenchmarkTable, out: Path) -> list[Path]:
    """Write the benchmark's chart, one for each source outside of it, and the table.

    Args:
        table: Our runs.
        out: Folder.

    Returns:
        The files.
    """
    pictures = {'radar.png': benchmark_radar(table)} if table.settings_run else {}
    for number, free in enumerate(table.free, 1):
        if len(free.seen) + len(free.unseen) >= MIN_AXES:
            pictures[f'radar_{number}_{"_".join(free.source)}.png'] = free_radar(free)
    for name, picture in pictures.items():
        save_picture(picture, out / name)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / 'radar.csv', table_csv(table).encode())
    return [*(out / name for name in pictures), out / 'radar.csv']


def _top(lines: Sequence[RadarLine]) -> float:
    """The outermost ring: the first multiple of 20 that no value exceeds."""
    values = [value for line in lines for value in line.values if value is not None]
    return float(min(HIGHEST, RING * np.ceil(max(values, default=HIGHEST) / RING)))


def _dress(
    chart: Any, angles: NDArray[np.float64], axes: Mapping[str, str], top: float
) -> None:
    """Rings, spokes, and the names of the axes in the colours of their groups."""
    chart.set_theta_zero_location('N')
    chart.set_theta_direction(-1)
    chart.set_ylim(0, top)
    chart.set_yticks(np.arange(RING, top + 1, RING))
    chart.set_rlabel_position(180 / len(angles))  # between the first two spokes
    for label in chart.get_yticklabels():
        label.set(fontsize=8, color='#777777', zorder=5, bbox=PLATE)
    chart.set_xticks(angles, list(axes), fontsize=9)
    chart.tick_params(axis='x', pad=3)
    chart.grid(color='#dddddd', linewidth=0.7)
    chart.spines['polar'].set_color('#bbbbbb')
    groups = list(dict.fromkeys(axes.values()))
    for label, angle, group in zip(
            chart.get_xticklabels(), angles, axes.values(), strict=True):
        label.set_color(GROUP_COLORS[groups.index(group) % len(GROUP_COLORS)])
        # names grow away from the circle
        side = round(np.sin(angle), 6)
        label.set_horizontalalignment('left' if side > 0 else 'right' if side < 0 else 'center')


def _draw(chart: Any, angles: NDArray[np.float64], line: RadarLine) -> None:
    values = [np.nan if value is None else value for value in line.values]
    style = {'linewidth': 2.2, 'marker': line.marker, 'markersize': 5} if line.ours else {
        'linewidth': 1.3, 'linestyle': '--'}
    # the first axis again: the line closes
    chart.plot([*angles, 2 * np.pi], [*values, values[0]], color=line.color, label=line.title,
               **style)
