# SPDX-License-Identifier: Apache-2.0
"""Forest plots: the difference of each method to a baseline with its interval, one row each."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossearth.evaluation.paired import Difference

from .charts import COLORS, chart_figure, rendered

__all__ = ['forest_chart']

WIDTH, ROW, FRAME = 8.5, 0.42, 1.5  # inches: the chart, a row, and what stands above and below
BETTER, WORSE, OPEN = COLORS[0], COLORS[4], '#777777'
MINUS = '\u2212'  # as wide as a plus


def forest_chart(
    rows: Mapping[str, Difference], baseline: str, unit: str, title: str | None = None
) -> NDArray[np.uint8]:
    """Draw differences to a baseline around a line at zero.

    Rows whose interval holds zero, or that have none, are grey.

    Args:
        rows: Name of a method -> its difference, from top to bottom; undefined ones are left empty.
        baseline: Name of what they are compared with.
        unit: Of the differences.
        title: Line above the chart.

    Returns:
        RGB picture (H, W, 3).

    Raises:
        ValueError: There is no row.
    """
    if not rows:
        raise ValueError('a forest plot needs at least one row')
    figure = chart_figure(WIDTH, FRAME + ROW * len(rows))
    axes = figure.add_subplot()
    axes.axvline(0, color='#333333', linewidth=1.2, zorder=1)
    for height, found in enumerate(rows.values()):
        _draw(axes, height, found)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), list(rows), fontsize=10)
    axes.set_xlabel(f'{unit}\n← worse than {baseline}        better than {baseline} →',
                    fontsize=9.5, linespacing=1.5)
    axes.tick_params(axis='y', length=0)
    axes.tick_params(axis='x', labelsize=9)
    axes.grid(axis='x', color='#e4e4e4', linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ('top', 'right', 'left'):
        axes.spines[side].set_visible(False)
    axes.margins(x=0.06)
    if title:
        figure.suptitle(title, fontsize=12, fontweight='bold')
    return rendered(figure)


def _draw(axes: Any, height: int, found: Difference) -> None:
    """Interval, mean, and both in numbers at the right edge."""
    if height % 2:
        axes.axhspan(height - 0.5, height + 0.5, color='#f6f6f6', zorder=0, linewidth=0)
    axes.text(1.01, height, _words(found), transform=axes.get_yaxis_transform(), va='center',
              fontsize=9, color='#333333', family='monospace')
    if math.isnan(found.mean):
        return
    color = BETTER if found.low > 0 else WORSE if found.high < 0 else OPEN
    if not math.isnan(found.low):
        axes.plot([found.low, found.high], [height] * 2, color=color, linewidth=2.4, zorder=2,
                  solid_capstyle='butt')
    axes.plot([found.mean], [height], marker='D', markersize=6.5, color=color, zorder=3,
              markeredgecolor='white', markeredgewidth=0.8)


def _words(found: Difference) -> str:
    """The difference in figures, as wide in every row."""
    ends = '' if math.isnan(found.low) else f'[{found.low:+.2f}, {found.high:+.2f}]'
    mean = 'n/a' if math.isnan(found.mean) else f'{found.mean:+.2f}'
    return f'{mean:>6}  {ends:16}  n = {found.pairs}'.replace('-', MINUS)
