# SPDX-License-Identifier: Apache-2.0
"""What geospatial queries attend to: the Injector's cross-attention for places of an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from crossearth.errors import ConfigError

from .charts import add_scales, heat, plain_name, write_rows
from .palettes import colorize
from .pictures import PictureRow, comparison_picture, save_picture
from .subjects import Subject
from .tiles import IGNORED, Tile, TileSet

__all__ = ['PLACES', 'attention_numbers', 'injector_attention', 'write_attention']

PLACES = ((0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))  # of the height and width
RING = (255, 0, 200)
COLORMAP, SHADE = 'inferno', 0.65  # opacity of the attention over the grey image


@dataclass(frozen=True)
class Query:
    """A place of an image.

    Args:
        row: Of the patch.
        column: Of the patch.
        y: Row in px of the label.
        x: Column in px of the label.
    """

    row: int
    column: int
    y: int
    x: int


def injector_attention(
    subject: Subject, image: NDArray[np.uint8], block: int | None = None
) -> NDArray[np.float64]:
    """Give the attention of all queries of an image, averaged over the heads.

    Args:
        subject: A model with an Injector.
        image: RGB (h, w, 3).
        block: Block of the backbone after which it acts; None for the last.

    Returns:
        Shares (y, x, y, x): of the query at a patch of the first two, over the patches of the
        last two; they add up to 1 over these.

    Raises:
        ConfigError: The model has no Injector, or none there.
    """
    backbone = subject.network.backbone
    injector: Any = getattr(backbone, 'injector', None)
    if injector is None:
        raise ConfigError(f'{subject.title} has no Injector, so nothing attends. Choose a model '
                          'with backbone.gse and backbone.injector.')
    sites = list(backbone.injection_sites)
    if block is not None and block not in sites:
        raise ConfigError(f'--block {block}: the Injector of {subject.title} acts after the blocks '
                          f'{", ".join(map(str, sites))}. Choose one of them.')
    wanted = len(sites) - 1 if block is None else sites.index(block)
    caught: list[torch.Tensor] = []

    def note(feats: torch.Tensor, geo: torch.Tensor, site: int) -> None:
        if site == wanted:
            caught.append(injector.weights(feats, geo, site)[0].mean(0))

    subject.observe(image, injector, note)
    grid = [-(-side // backbone.patch_size) for side in image.shape[:2]]
    shares: NDArray[np.float64] = caught[-1].double().cpu().numpy().reshape(*grid, *grid)
    return shares


def attention_numbers(
    shares: NDArray[np.float64], query: Query, label: NDArray[np.integer]
) -> dict[str, float]:
    """Describe the attention of one query.

    Args:
        shares: Its attention (y, x), which adds up to 1.
        query: Its place.
        label: Truth (H, W).

    Returns:
        `patches`, the exponential of the entropy: over how many patches it spreads;
        `distance_px`, the mean distance of what it attends to; `same_class`, the attention on
        labelled pixels that falls on the query's class, and `same_class_chance`, the share of the
        class among them. The last two are NaN where the query's pixel has no label.
    """
    positive = shares[shares > 0]
    size = np.divide(label.shape, shares.shape)  # px of a patch
    rows, columns = np.indices(shares.shape)
    distance = np.hypot((rows - query.row) * size[0], (columns - query.column) * size[1])
    numbers = {
        'patches': float(np.exp(-(positive * np.log(positive)).sum())),
        'distance_px': float((shares * distance).sum()),
        'same_class': float('nan'), 'same_class_chance': float('nan')}
    if (own := label[query.y, query.x]) == IGNORED:
        return numbers
    labelled, same = label != IGNORED, label == own
    pixels = _spread_out(shares, label.shape)
    return {**numbers, 'same_class': float(pixels[same].sum() / pixels[labelled].sum()),
            'same_class_chance': float(same.sum() / labelled.sum())}


def write_attention(
    subject: Subject, tiles: TileSet, out: Path, *, block: int | None = None,
    places: Sequence[tuple[float, float]] = PLACES,
) -> list[Path]:
    """Write the picture, and numbers for every query in it.

    Args:
        subject: A model with an Injector.
        tiles: What is shown, a row for each.
        out: Folder.
        block: As of `injector_attention`.
        places: Of the queries, fractions of height and width from the upper left corner.

    Returns:
        The files.
    """
    found = [injector_attention(subject, tile.image, block) for tile in tiles.tiles]
    queries = [[_query(place, tile, shares) for place in places]
               for tile, shares in zip(tiles.tiles, found, strict=True)]
    # one scale for all: how many times as much as if a query attended to everything alike
    times = [[shares[q.row, q.column] * shares[q.row, q.column].size for q in own]
             for shares, own in zip(found, queries, strict=True)]
    highest = float(np.percentile(np.array([m.max() for own in times for m in own]), 90))
    highest = max(highest, 1.1)
    pictures, rows = [], []
    for tile, shares, own, maps in zip(tiles.tiles, found, queries, times, strict=True):
        columns = {'Image': _ringed(tile.view, own, numbered=True),
                   'Truth': colorize(tile.label, tiles.palette)}
        for index, (query, values) in enumerate(zip(own, maps, strict=True), 1):
            columns[f'Query {index}'] = _ringed(_laid_over(tile.view, values, highest), [query])
            rows.append({
                'domain': tile.domain, 'tile': tile.path, 'query': index, 'y': query.y,
                'x': query.x, 'class': _class_name(tiles, tile, query),
                **attention_numbers(shares[query.row, query.column], query, tile.label),
                'highest_times_uniform': float(values.max())})
        pictures.append(PictureRow(tiles.title(tile.domain), columns))
    where = 'last block' if block is None else f'block {block}'
    picture = comparison_picture(
        pictures, tiles.classes, tiles.palette,
        f'{subject.title}: attention of geospatial queries, {where}')
    save_picture(add_scales(picture, {'attention, times that to everything alike': (
        COLORMAP, 0, highest)}), out / 'attention.png')
    return [out / 'attention.png', write_rows(out / 'attention.csv', rows)]


def _query(place: tuple[float, float], tile: Tile, shares: NDArray[np.float64]) -> Query:
    (y, row), (x, column) = (
        (min(int(part * pixels), pixels - 1), min(int(part * patches), patches - 1))
        for part, pixels, patches in zip(place, tile.label.shape, shares.shape[:2], strict=True))
    return Query(row, column, y, x)


def _class_name(tiles: TileSet, tile: Tile, query: Query) -> str:
    label = int(tile.label[query.y, query.x])
    return '' if label == IGNORED else plain_name(tiles.classes[label])


def _spread_out(
    shares: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Values of patches (y, x) at the pixels (H, W), each that of the patch it lies in."""
    rows, columns = (np.arange(pixels) * patches // pixels
                     for pixels, patches in zip(shape, shares.shape, strict=True))
    return shares[np.ix_(rows, columns)]


def _laid_over(
    image: NDArray[np.uint8], times: NDArray[np.float64], highest: float
) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    smooth = cv2.resize(times, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    mixed = SHADE * heat(smooth, 0, highest, COLORMAP) + (1 - SHADE) * grey
    return np.rint(mixed).astype(np.uint8)


def _ringed(
    image: NDArray[np.uint8], queries: Sequence[Query], *, numbered: bool = False
) -> NDArray[np.uint8]:
    """Mark queries in an enlarged image: rings are as thin as lines on paper."""
    scale = max(1, round(480 / image.shape[1]))
    large: Any = np.ascontiguousarray(image.repeat(scale, 0).repeat(scale, 1))
    unit = large.shape[1] / 480
    for index, query in enumerate(queries, 1):
        centre = (round((query.x + 0.5) * scale), round((query.y + 0.5) * scale))
        for color, width in (((255, 255, 255), 7), (RING, 3)):
            cv2.circle(large, centre, round(14 * unit), color, round(width * unit), cv2.LINE_AA)
            if numbered:
                corner = (centre[0] + round(20 * unit), centre[1] + round(12 * unit))
                cv2.putText(large, str(index), corner, cv2.FONT_HERSHEY_SIMPLEX, 1.2 * unit, color,
                            round((width + 1) * unit), cv2.LINE_AA)
    return np.asarray(large, np.uint8)
