# SPDX-License-Identifier: Apache-2.0
"""What all charts share: colours that colour-blind readers tell apart, and their way to a file."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from crossearth.weight_files import write_atomically

__all__ = ['COLORS', 'DPI', 'MARKERS', 'add_scales', 'chart_figure', 'domain_styles', 'heat',
           'plain_name', 'rendered', 'write_rows']

DPI = 150
STRIP, BAR = 0.6, 2.4  # inches: height of the colour bars below a picture, and their length
# Okabe and Ito (2008), for readers of any colour vision; the marks differ too, with another period
COLORS = ('#0072B2', '#E69F00', '#009E73', '#CC79A7', '#D55E00', '#56B4E9', '#555555')
MARKERS = ('o', '^', 's', 'D', 'v', 'P', 'X', '<', '>')


def chart_figure(width: float, height: float) -> Figure:
    """Make a white figure of a size in inches whose parts keep clear of each other."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor='white', layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def rendered(figure: Figure) -> NDArray[np.uint8]:
    """Draw a figure as RGB picture (H, W, 3)."""
    canvas: Any = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def domain_styles(domains: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and mark of each domain, as keywords of matplotlib."""
    return {name: {'color': COLORS[index % len(COLORS)], 'marker': MARKERS[index % len(MARKERS)]}
            for index, name in enumerate(domains)}


def plain_name(name: str) -> str:
    """A name of a domain or class as it is shown."""
    return name.replace('_', ' ')


def heat(
    values: NDArray[np.floating], low: float, high: float, colormap: str = 'viridis'
) -> NDArray[np.uint8]:
    """Paint numbers.

    Args:
        values: (H, W).
        low: What becomes the first colour, with all below.
        high: What becomes the last colour, with all above.
        colormap: A name of matplotlib.

    Returns:
        RGB picture (H, W, 3).
    """
    from matplotlib import colormaps

    share = (values - low) / max(high - low, 1e-12)
    painted: NDArray[np.uint8] = colormaps[colormap](share.clip(0, 1), bytes=True)
    return painted[..., :3]


def add_scales(
    picture: NDArray[np.uint8], scales: Mapping[str, tuple[str, float, float]]
) -> NDArray[np.uint8]:
    """Set colour bars below a picture.

    Args:
        picture: RGB (H, W, 3).
        scales: Caption -> colour map and the numbers at its two ends, as `heat` took them.

    Returns:
        RGB picture (H + h, W, 3).
    """
    width = picture.shape[1] / DPI
    figure = Figure(figsize=(width, STRIP), dpi=DPI, facecolor='white')
    FigureCanvasAgg(figure)
    step = width / len(scales)
    for index, (caption, (colormap, low, high)) in enumerate(scales.items()):
        bar = min(BAR, 0.8 * step)
        axes = figure.add_axes((
            ((index + 0.5) * step - bar / 2) / width, 0.42, bar / width, 0.22))
        axes.imshow(np.linspace(0, 1, 256)[None], cmap=colormap, aspect='auto',
                    extent=(low, high, 0, 1))
        axes.set(yticks=[], xticks=[low, high])
        axes.set_xticklabels([f'{low:.3g}', f'{high:.3g}'], fontsize=8)
        axes.set_title(caption, fontsize=9, pad=3)
    strip = rendered(figure)
    fitted = np.full((len(strip), picture.shape[1], 3), 255, np.uint8)  # rounded to whole pixels
    fitted[:, :strip.shape[1]] = strip[:, :picture.shape[1]]
    return np.concatenate([picture, fitted])


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write rows of the same columns as CSV, whole or not at all; floats with 6 digits.

    Args:
        path: The file.
        rows: At least one.

    Returns:
        The file.
    """
    rows = list(rows)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator='\n')
    writer.writeheader()
    for row in rows:
        writer.writerow({key: f'{value:.6g}' if isinstance(value, float | np.floating) else value
                         for key, value in row.items()})
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue().encode())
    return path
