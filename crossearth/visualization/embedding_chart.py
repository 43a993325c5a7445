# SPDX-License-Identifier: Apache-2.0
"""Domain gaps and class clusters on a plane, as Fig. 7, 8, 10 of CrossEarth (arXiv 2410.22629)."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from .charts import chart_figure, domain_styles, plain_name, rendered, write_rows
from .embedding import (
    Samples,
    layer_features,
    plane,
    sample_pixels,
    separation,
    tile_means,
)
from .pictures import save_picture
from .subjects import Subject
from .tiles import TileSet

__all__ = ['class_chart', 'domain_chart', 'write_embedding']

PANEL = 3.1  # inches
GREY = '#d9d9d9'
LABELS = {
    'domain_silhouette': 'silhouette of domains', 'domain_probe': 'linear probe for the domain',
    'class_silhouette': 'silhouette of classes',
    'domain_silhouette_within_class': 'of domains within a class'}


def domain_chart(
    points: NDArray[np.float64], samples: Samples, tiles: TileSet, numbers: Mapping[str, float],
    title: str,
) -> NDArray[np.uint8]:
    """Draw one mark for each tile in the colour of its domain, as Fig. 7.

    Args:
        points: Coordinates (N, 2).
        samples: Whose they are.
        tiles: For the names of the domains.
        numbers: What `separation` gave.
        title: Line above.

    Returns:
        RGB picture (H, W, 3).
    """
    figure = chart_figure(5.4, 5.2)
    axes = _panel(figure.add_subplot(), '')
    _by_domain(axes, points, samples, tiles, size=26)
    figure.suptitle(title, fontsize=12, fontweight='bold')
    columns = 2 if max(len(tiles.title(name)) for name in tiles.domains) > 14 else 3
    legend = figure.legend(loc='outside lower center', ncols=columns, frameon=False, fontsize=9,
                           handletextpad=0.3, title=sentence(numbers), title_fontsize=9)
    legend.get_title().set_multialignment('center')
    return rendered(figure)


def class_chart(
    points: NDArray[np.float64], samples: Samples, tiles: TileSet, numbers: Mapping[str, float],
    title: str,
) -> NDArray[np.uint8]:
    """Draw the pixels of all domains by domain and by class, and each domain alone, as Fig. 8, 10.

    Classes that mean the same everywhere lie at the same place in every panel.

    Args:
        points: Coordinates (N, 2).
        samples: Whose they are.
        tiles: For the names and colours.
        numbers: What `separation` gave.
        title: Line above.

    Returns:
        RGB picture (H, W, 3).
    """
    domains = tiles.domains
    columns = min(3, len(domains) + 2)
    rows = -(-(len(domains) + 2) // columns)
    figure = chart_figure(columns * PANEL, rows * (PANEL + 0.2) + 1.3)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(domains) + 2:]:
        axes.set_axis_off()
    _by_domain(_panel(grid[0], 'all pixels, by domain'), points, samples, tiles, size=7)
    _by_class(_panel(grid[1], 'all pixels, by class'), points, samples, tiles)
    for axes, domain in zip(grid[2:], domains, strict=False):
        _panel(axes, tiles.title(domain)).scatter(*points.T, s=3, color=GREY, linewidths=0)
        _by_class(axes, points, samples, tiles, samples.domains == domain)
    figure.suptitle(title, fontsize=12, fontweight='bold')
    styles = domain_styles(domains)
    handles = [*(Line2D([], [], linestyle='', markersize=6, label=tiles.title(name),
                        **styles[name]) for name in domains),
               *(Line2D([], [], linestyle='', marker='o', markersize=8, color=colour,
                        markeredgecolor='0.4', markeredgewidth=0.4, label=plain_name(name))
                 for name, colour in zip(tiles.classes, _colours(tiles), strict=True))]
    legend = figure.legend(
        handles=handles, loc='outside lower center', frameon=False, fontsize=9, handletextpad=0.2,
        ncols=2 * columns - 1, title=sentence(numbers), title_fontsize=9)
    legend.get_title().set_multialignment('center')
    return rendered(figure)


def sentence(numbers: Mapping[str, float]) -> str:
    """The numbers of `separation` in words, two on a line, without those that are not known."""
    words = []
    for key, label in LABELS.items():
        if not math.isnan(value := numbers.get(key, float('nan'))):
            chance = f'(chance {100 * numbers["domain_chance"]:.0f})'
            words.append(f'{label} {100 * value:.0f} % {chance}' if key == 'domain_probe'
                         else f'{label} {value:.2f}')
    lines = [words[start:start + 2] for start in range(0, len(words), 2)]
    return '\n'.join(',  '.join(line) for line in lines)


def write_embedding(
    subject: Subject, tiles: TileSet, out: Path, *, layer: str, pixels: int, method: str, seed: int
) -> list[Path]:
    """Write both pictures, the points and the numbers.

    Args:
        subject: The model.
        tiles: Of several domains.
        out: Folder.
        layer: As of `Subject.features`.
        pixels: Labelled pixels of each domain at most.
        method: `umap` or `pca`.
        seed: Of the drawn pixels, of UMAP and of the probe's folds.

    Returns:
        The files.
    """
    features = layer_features(subject, tiles, layer)
    kinds: dict[str, tuple[Samples, Any, str]] = {
        'domains': (tile_means(tiles, features), domain_chart, 'Domain gaps'),
        'classes': (sample_pixels(tiles, features, pixels, seed), class_chart,
                    'Classes across domains')}
    files, found, points = [], [], []
    for kind, (samples, draw, title) in kinds.items():
        numbers, layout = separation(samples, seed), plane(samples.vectors, method, seed)
        picture = out / f'umap_{kind}.png'
        name = 'UMAP' if method == 'umap' else 'PCA'
        save_picture(draw(layout, samples, tiles, numbers,
                          f'{title}: {subject.title}, {layer} ({name})'), picture)
        files.append(picture)
        found += [{'points': kind, 'number': key, 'value': value}
                  for key, value in numbers.items()]
        points += _rows(kind, samples, layout, tiles)
    return [*files, write_rows(out / 'umap.csv', points),
            write_rows(out / 'umap_numbers.csv', found)]


def _rows(
    kind: str, samples: Samples, layout: NDArray[np.float64], tiles: TileSet
) -> list[dict[str, Any]]:
    return [{
        'points': kind, 'domain': domain, 'tile': tiles.tiles[tile].path,
        'row': row if row >= 0 else '', 'column': column if row >= 0 else '',
        'class': tiles.classes[label] if label >= 0 else '', 'x': float(x), 'y': float(y)}
        for domain, tile, (row, column), label, (x, y) in zip(
            samples.domains, samples.tiles, samples.places, samples.classes, layout, strict=True)]


def _panel(axes: Any, title: str) -> Any:
    """Empty axes without scales: coordinates of an embedding have no unit."""
    axes.set(xticks=[], yticks=[], title=title)
    axes.title.set_fontsize(10)
    for side in axes.spines.values():
        side.set(color='0.7', linewidth=0.6)
    return axes


def _by_domain(
    axes: Any, points: NDArray[np.float64], samples: Samples, tiles: TileSet, size: float
) -> None:
    for name, style in domain_styles(tiles.domains).items():
        axes.scatter(*points[samples.domains == name].T, s=size, alpha=0.8, linewidths=0,
                     label=tiles.title(name), **style)


def _by_class(
    axes: Any, points: NDArray[np.float64], samples: Samples, tiles: TileSet,
    chosen: NDArray[np.bool_] | None = None,
) -> None:
    """Marks in the colours of the classes, in mixed order so that none hides the others."""
    indices = np.flatnonzero(np.ones(len(points), bool) if chosen is None else chosen)
    indices = np.random.default_rng(0).permutation(indices)
    colours = np.array(_colours(tiles))[samples.classes[indices]]
    axes.scatter(*points[indices].T, s=9, color=colours, edgecolors='0.4', linewidths=0.15)


def _colours(tiles: TileSet) -> Sequence[Any]:
    return [tuple(np.divide(colour, 255)) for colour in tiles.palette]
