# SPDX-License-Identifier: Apache-2.0
"""One picture of many tiles: rows are tiles of domains, columns are image, label, predictions."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from crossearth.weight_files import replacing

from .charts import DPI, rendered
from .palettes import UNLABELLED, Palette

__all__ = ['PictureRow', 'comparison_picture', 'save_picture']

# inches
TILE, GAP, MARGIN = 2.0, 0.06, 0.15
LABEL_WIDTH = 0.4   # the domain names at the left
TITLE_HEIGHT, HEADER_HEIGHT, LEGEND_LINE = 0.4, 0.26, 0.24
LETTER = 0.078      # width of a letter, generous


@dataclass(frozen=True)
class PictureRow:
    """One tile.

    Args:
        domain: Name at the left; equal names of neighbouring rows are written once.
        columns: RGB pictures (H, W, 3) of the tile by title of the column.
    """

    domain: str
    columns: Mapping[str, NDArray[np.uint8]]


def comparison_picture(
    rows: Sequence[PictureRow],
    classes: Sequence[str] = (),
    palette: Palette = (),
    title: str | None = None,
) -> NDArray[np.uint8]:
    """Assemble tiles, their names and a legend of the classes.

    Pictures of equally many columns have the same width, so that they can be stacked.

    Args:
        rows: Tiles, all with the same columns.
        classes: Names of the classes; none for no legend.
        palette: Red, green and blue of each class, 0 to 255.
        title: Line above everything.

    Returns:
        RGB picture (H, W, 3).

    Raises:
        ValueError: There is no row, or the rows differ in columns.
    """
    if not rows:
        raise ValueError('a picture needs at least one row')
    titles = list(rows[0].columns)
    if different := [row.domain for row in rows if list(row.columns) != titles]:
        raise ValueError(f'rows of {different} have other columns than {titles}')
    legend = dict(zip([*classes, 'not labelled'], [*palette, UNLABELLED], strict=True))
    sheet = _Sheet(rows, len(titles), legend if classes else {}, title is not None)
    if title is not None:
        sheet.text(MARGIN, sheet.height - MARGIN, title, size=12, weight='bold', va='top')
    for column, name in enumerate(titles):
        sheet.text(sheet.left(column) + TILE / 2, sheet.top + 0.07, name, size=10, ha='center')
    for index, row in enumerate(rows):
        for column, picture in enumerate(row.columns.values()):
            sheet.tile(index, column, picture)
    for start, stop in _runs([row.domain for row in rows]):
        bottom = sheet.tops[stop - 1] - sheet.heights[stop - 1]
        letters = max(8, int((sheet.tops[start] - bottom) / LETTER))
        name = textwrap.fill(rows[start].domain.replace('_', ' '), letters)
        sheet.text(
            MARGIN + LABEL_WIDTH / 2, (sheet.tops[start] + bottom) / 2, name, size=9.5,
            rotation=90, ha='center', va='center')
    if classes:
        sheet.draw_legend()
    return sheet.render()


def save_picture(picture: NDArray[np.uint8], path: Path) -> None:
    """Write an RGB picture (H, W, 3) as PNG, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        Image.fromarray(picture).save(temporary, format='PNG')


class _Sheet:
    """A figure measured in inches from its lower left corner."""

    def __init__(
        self, rows: Sequence[PictureRow], columns: int, legend: Mapping[str, Sequence[int]],
        titled: bool,
    ) -> None:
        self.width = 2 * MARGIN + LABEL_WIDTH + columns * (TILE + GAP) - GAP
        self.legend = legend
        entry = 0.55 + LETTER * max(map(len, legend), default=0)
        self.legend_lines = -(-len(legend) // max(1, int((self.width - MARGIN) / entry)))
        self.legend_height = self.legend_lines * LEGEND_LINE + 0.05
        # tiles keep their shape: a row is as high as its first picture asks
        shapes = [next(iter(row.columns.values())).shape for row in rows]
        self.heights = [TILE * shape[0] / shape[1] for shape in shapes]
        self.top = MARGIN + self.legend_height + sum(self.heights) + GAP * (len(rows) - 1)
        self.height = self.top + HEADER_HEIGHT + MARGIN + TITLE_HEIGHT * titled
        above = np.cumsum([0, *(height + GAP for height in self.heights[:-1])])
        self.tops = [float(self.top - offset) for offset in above]
        self.figure = Figure(figsize=(self.width, self.height), dpi=DPI, facecolor='white')
        FigureCanvasAgg(self.figure)

    def left(self, column: int) -> float:
        return MARGIN + LABEL_WIDTH + column * (TILE + GAP)

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        self.figure.text(x / self.width, y / self.height, text, **style)

    def tile(self, row: int, column: int, picture: NDArray[np.uint8]) -> None:
        height = self.heights[row]
        axes = self.figure.add_axes((
            self.left(column) / self.width, (self.tops[row] - height) / self.height,
            TILE / self.width, height / self.height))
        # nearest: a label map has no colours between those of its classes
        axes.imshow(picture, interpolation='nearest', aspect='auto')
        axes.set(xticks=[], yticks=[])
        for side in axes.spines.values():
            side.set(color='0.6', linewidth=0.5)

    def draw_legend(self) -> None:
        handles = [
            Patch(facecolor=np.divide(colour, 255), edgecolor='0.4', linewidth=0.5,
                  label=name.replace('_', ' '))
            for name, colour in self.legend.items()]
        columns = -(-len(handles) // self.legend_lines)  # as evenly as the lines allow
        self.figure.legend(
            handles=handles, loc='lower center', ncols=columns, frameon=False,
            fontsize=10, handlelength=1.2, handleheight=1.0, columnspacing=1.6,
            bbox_to_anchor=(0.5, 0.5 * MARGIN / self.height), borderaxespad=0)

    def render(self) -> NDArray[np.uint8]:
        return rendered(self.figure)


def _runs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Ranges [start, stop) of equal neighbours."""
    starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
    return list(zip(starts, [*starts[1:], len(names)], strict=True))
