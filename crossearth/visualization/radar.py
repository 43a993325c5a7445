# SPDX-License-Identifier: Apache-2.0
"""Radar chart of many settings, as Fig. 2 of CrossEarth (arXiv 2410.22629)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = ['RadarLine', 'radar_chart']

SIZE, DPI = 8.5, 150                # inches
RING, HIGHEST = 20, 100             # percent
PLATE = {'boxstyle': 'round,pad=0.1', 'facecolor': 'white', 'edgecolor': 'none', 'alpha': 0.8}
GROUP_COLORS = ('#1b6ca8', '#b5485d', '#3d8b5f', '#8a6d1f', '#6f4fa0', '#33838c')


@dataclass(frozen=True)
class RadarLine:
    """One line.

    Args:
        title: Its name in the legend.
        values: Percent on each axis; None leaves the axis open.
        color: Its colour, as matplotlib names it.
        ours: Whether it is drawn thick with marks, over the thin lines of others.
    """

    title: str
    values: Sequence[float | None]
    color: str
    ours: bool = False


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
    figure = Figure(figsize=(SIZE, SIZE), dpi=DPI, facecolor='white', layout='constrained')
    canvas = FigureCanvasAgg(figure)
    chart = figure.add_subplot(projection='polar')
    angles = np.linspace(0, 2 * np.pi, len(axes), endpoint=False)
    _dress(chart, angles, axes, _top(lines))
    for line in lines:
        _draw(chart, angles, line)
    if title:
        figure.suptitle(title, fontsize=13, fontweight='bold')
    figure.legend(loc='outside lower center', ncols=min(len(lines), 4), frameon=False, fontsize=10)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


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
    style = {'linewidth': 2.2, 'marker': 'o', 'markersize': 4} if line.ours else {
        'linewidth': 1.3, 'linestyle': '--'}
    # the first axis again: the line closes
    chart.plot([*angles, 2 * np.pi], [*values, values[0]], color=line.color, label=line.title,
               **style)
