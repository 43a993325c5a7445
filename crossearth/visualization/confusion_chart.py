# SPDX-License-Identifier: Apache-2.0
"""Confusion matrices of a report, one panel for each domain."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from numpy.typing import NDArray

from crossearth.evaluation import DomainReport

from .charts import chart_figure, plain_name, rendered, write_rows
from .pictures import save_picture

__all__ = ['confusion_chart', 'row_shares', 'write_confusion']

CELL, NAMES = 0.52, 1.3  # inches: a cell, and the names of the classes at two sides
COLUMNS = 3
DARK = 0.6               # share of the colour bar from which on letters are white
UNITS = ((1e9, 'G'), (1e6, 'M'), (1e3, 'k'))


def row_shares(matrix: NDArray[np.integer]) -> NDArray[np.float64]:
    """Shares of each true class (C, C) in percent; rows of absent classes are NaN."""
    total = matrix.sum(axis=1, keepdims=True)
    shares = np.full(matrix.shape, np.nan)
    np.divide(100.0 * matrix, total, out=shares, where=total > 0)
    return shares


def confusion_chart(report: DomainReport, *, counts: bool = False) -> NDArray[np.uint8]:
    """Draw the matrices of all domains: rows are the truth, columns the prediction.

    Args:
        report: The report.
        counts: Pixels instead of percent of the row.

    Returns:
        RGB picture (H, W, 3).
    """
    names = [*report.seen, *report.unseen]
    columns = 2 if len(names) == 4 else min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    side = CELL * len(report.classes)
    figure = chart_figure(
        columns * (side + 0.2) + NAMES + 0.9, rows * (side + 0.4) + NAMES + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False)
    shown = {name: report.domains[name].matrix.astype(np.float64) if counts
             else row_shares(report.domains[name].matrix) for name in names}
    highest = max(2.0, *(float(np.nanmax(values, initial=0)) for values in shown.values()))
    norm = LogNorm(1, highest) if counts else Normalize(0, 100)
    for axes in grid.ravel()[len(names):]:
        axes.set_axis_off()
    for index, (axes, name) in enumerate(zip(grid.ravel(), names, strict=False)):
        title = plain_name(name) + (' (source)' if name in report.source else '')
        image = _matrix(axes, shown[name], norm, report, title)
        if index % columns:  # names stand at the left and below only
            axes.set(yticks=[], ylabel='')
        if index + columns < len(names):
            axes.set(xticks=[], xlabel='')
    bar = figure.colorbar(image, ax=grid, shrink=0.7, aspect=30, pad=0.01)
    bar.set_label('pixels' if counts else '% of the pixels of a true class', fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return rendered(figure)


def write_confusion(report: DomainReport, out: Path) -> list[Path]:
    """Write the matrices in percent and in pixels, and both as CSV.

    Args:
        report: The report.
        out: Folder.

    Returns:
        The files.
    """
    save_picture(confusion_chart(report), out / 'confusion.png')
    save_picture(confusion_chart(report, counts=True), out / 'confusion_counts.png')
    rows = []
    for name, result in report.domains.items():
        shares = row_shares(result.matrix)
        for (true, told), pixels in np.ndenumerate(result.matrix):
            share = float(shares[true, told])
            rows.append({'domain': name, 'unseen': int(name in report.unseen),
                         'truth': report.classes[true], 'prediction': report.classes[told],
                         'pixels': int(pixels), 'percent': '' if np.isnan(share) else share})
    return [out / 'confusion.png', out / 'confusion_counts.png',
            write_rows(out / 'confusion.csv', rows)]


def _matrix(
    axes: Any, values: NDArray[np.float64], norm: Any, report: DomainReport, title: str
) -> Any:
    image = axes.imshow(np.ma.masked_invalid(values), cmap='Blues', norm=norm)
    axes.set_facecolor('#eeeeee')  # classes without a pixel
    axes.set_title(title, fontsize=10)
    names = [plain_name(name) for name in report.classes]
    axes.set_xticks(range(len(names)), names, fontsize=8, rotation=45, ha='right',
                    rotation_mode='anchor')
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.tick_params(length=0)
    axes.set_xlabel('prediction', fontsize=9)
    axes.set_ylabel('truth', fontsize=9)
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            continue
        dark = value > 0 and float(norm(value)) > DARK
        text = _short(value) if isinstance(norm, LogNorm) else f'{value:.0f}'
        axes.text(column, row, text, ha='center', va='center', fontsize=8,
                  color='white' if dark else '#222222')
    return image


def _short(count: float) -> str:
    """A count in at most four letters."""
    for size, unit in UNITS:
        if count >= 0.9995 * size:
            number = count / size
            return f'{number:.1f}{unit}' if number < 9.95 else f'{number:.0f}{unit}'
    return f'{count:.0f}'
