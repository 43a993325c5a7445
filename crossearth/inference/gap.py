# SPDX-License-Identifier: Apache-2.0
"""How far is a scene from what a model was trained on?

Tiles are described by vectors: by their style (colour and texture, from a style predictor) and by
the features that the model's backbone hands to its head, averaged over the tile. Both networks are
handed in, so that this module knows neither.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from crossearth.errors import BundleError, DataError
from crossearth.inference.domain import Gap, Reference
from crossearth.inference.raster import RasterReader
from crossearth.inference.stream import NO_DATA
from crossearth.inference.tiling import Window, plan_rows
from crossearth.inference.writer import Grid, RasterWriter

__all__ = [
    'KINDS',
    'KNOWN_GAPS',
    'MAX_DIMS',
    'KnownGap',
    'domain_statistics',
    'embed_tiles',
    'place',
    'read_statistics',
    'scene_tiles',
    'torch_embedder',
    'verdict',
    'write_heatmap',
]

Embedder = Callable[[np.ndarray], np.ndarray]  # (N, C, h, w) in 0..255 -> (N, D)

KINDS = ('style', 'features')
MAX_DIMS = 64       # of features: a covariance of all would need more tiles than there are
MAX_TILES = 10_000  # that `domain_statistics` looks at
MIN_VALID = 0.5     # share of a tile that must hold data


@dataclass(frozen=True)
class KnownGap:
    """A change that everybody can imagine, and how far it moves tiles.

    Args:
        name: The change.
        style: `Gap.shift` of the style embeddings.
        features: `Gap.shift` of the backbone's features.
    """

    name: str
    style: float
    features: float


# BlueMarble-Climate, training tiles of one climate against: its own test tiles, these changed, and
# the test tiles of other climates. Medians over the nine climates, or over 72 pairs of them; the
# last row is their 90th percentile. Made by: python benchmarks/gap_study.py (docs/gap.md).
KNOWN_GAPS = (
    KnownGap('the same climate on another continent', 0.67, 0.84),
    KnownGap('half the resolution', 0.81, 0.80),
    KnownGap('a quarter of the resolution', 0.95, 1.07),
    KnownGap('red and blue swapped', 1.36, 1.73),
    KnownGap('another climate', 1.45, 1.34),
    KnownGap('the most different climates', 2.11, 2.05),
)


def domain_statistics(
    tiles: Iterable[np.ndarray],
    style_embedder: Embedder,
    feature_extractor: Embedder,
    *,
    style_kind: str = '',
    style_sha256: str = '',
) -> dict[str, Any]:
    """Describe a training domain for the card of a bundle (`Card.statistics`; 1.7 MB for a ViT-L).

    Args:
        tiles: Training tiles (C, h, w) in 0..255 with the model's bands; the first 10,000 are used,
            so shuffle more.
        style_embedder: Tiles (N, C, h, w) -> style embeddings (N, D).
        feature_extractor: Tiles -> averaged features (N, F).
        style_kind: Name of the style predictor, by which a reader finds it again.
        style_sha256: Its hash.

    Raises:
        DataError: See `Reference.fit`.
    """
    vectors = embed_tiles(islice(tiles, MAX_TILES),
                          {'style': style_embedder, 'features': feature_extractor})
    return {'style': Reference.fit(vectors['style']).to_plain(),
            'features': Reference.fit(vectors['features'], MAX_DIMS).to_plain(),
            'style_kind': style_kind, 'style_sha256': style_sha256}


def read_statistics(statistics: Mapping[str, Any]) -> dict[str, Reference]:
    """The references in `Card.statistics`, by kind.

    Raises:
        BundleError: There are none, or they are damaged.
    """
    found = {kind: Reference.from_plain(statistics[kind]) for kind in KINDS if kind in statistics}
    if not found:
        raise BundleError('the card holds no statistics of its training domain. Export the bundle '
                          'again, or compare with a folder of training tiles: crossearth gap '
                          'SCENE --reference DIR.')
    return found


def embed_tiles(
    tiles: Iterable[np.ndarray], embedders: Mapping[str, Embedder], batch: int = 8
) -> dict[str, np.ndarray]:
    """Describe tiles.

    Args:
        tiles: (C, h, w) each, in 0..255; sizes may differ.
        embedders: By kind.
        batch: Tiles that go through a network at once.

    Returns:
        Vectors (N, D) by kind, in the order of the tiles.

    Raises:
        DataError: There is no tile.
    """
    vectors: dict[str, list[np.ndarray]] = {kind: [] for kind in embedders}
    for _, same in groupby(tiles, key=np.shape):
        while group := list(islice(same, batch)):
            images = np.stack(group).astype(np.float32)
            for kind, embedder in embedders.items():
                vectors[kind].append(np.asarray(embedder(images), np.float64))
    if not all(vectors.values()):
        raise DataError('there is no tile with data to describe. Give more imagery.')
    return {kind: np.concatenate(parts) for kind, parts in vectors.items()}


def torch_embedder(
    network: Callable[[Any], Any],
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (255.0, 255.0, 255.0),
    device: str = 'cpu',
) -> Embedder:
    """Make an embedder of a network of torch.

    Args:
        network: Normalised images -> vectors (N, D), a map (N, D, h, w), a list of maps, or a pair
            whose first part is such a list, as backbones with queries have; maps are averaged over
            their pixels and joined.
        mean: Mean of each band in 0..255.
        std: Standard deviation of each band; the default scales to [0, 1] for style predictors.
        device: Where the network is.
    """
    import torch

    centre, scale = (torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)
                     for values in (mean, std))

    def embed(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found = network((torch.from_numpy(images).to(device) - centre) / scale)
            maps = found[0] if isinstance(found, tuple) else found
            maps = [maps] if isinstance(maps, torch.Tensor) else list(maps)
            vectors: np.ndarray = torch.cat(
                [m.flatten(2).mean(2) if m.ndim == 4 else m for m in maps], 1).float().cpu().numpy()
        return vectors

    return embed


def scene_tiles(
    reader: RasterReader, tile: int, limit: int | None = None
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Cut a scene into tiles side by side; those that are mostly without data are left out.

    Args:
        reader: The scene.
        tile: Side of a tile in px.
        limit: Read so many windows at most, evenly spread; None for all.

    Yields:
        Row and column in the grid of tiles, and the tile (C, h, w). Pixels without data have the
        mean of the others, which disturbs the style least.
    """
    windows: list[tuple[tuple[int, int], Window]] = [
        ((row, col), window) for row, band in enumerate(plan_rows(
            reader.height, reader.width, tile, 0)) for col, window in enumerate(band)]
    number = len(windows) if limit is None else min(limit, len(windows))
    for index in range(number):
        # the middle of each of `number` equal parts
        place, window = windows[(2 * index + 1) * len(windows) // (2 * number)]
        found = reader.read(window)
        if found.valid.mean() >= MIN_VALID:
            mean = found.image[:, found.valid].mean(axis=1)
            yield place, np.where(found.valid, found.image, mean[:, None, None])


def write_heatmap(
    path: str | Path,
    reader: RasterReader,
    tile: int,
    places: Sequence[tuple[int, int]],
    distances: np.ndarray,
    *,
    overwrite: bool = False,
) -> None:
    """Write one pixel for each tile: its distance to the nearest training tile, in percent.

    100 is the edge of the training domain; values end at 254, and 255 is no data. Pixels in the
    last row and column reach as far beyond the scene as whole tiles would.

    Args:
        path: GeoTIFF.
        reader: The scene.
        tile: Side of a tile in px.
        places: Row and column of each tile.
        distances: Of `Reference.distances`.
        overwrite: Replace an existing file.

    Raises:
        RasterError: The file exists or cannot be written.
    """
    grid = _coarse(reader.grid, tile)
    values = np.full((grid.height, grid.width), NO_DATA, np.uint8)
    for (row, col), distance in zip(places, distances, strict=True):
        values[row, col] = min(NO_DATA - 1, round(100 * distance))
    tags = {'unit': 'percent of the radius of the training domain; 100 is its edge'}
    with RasterWriter(path, grid, bands=['distance to the training domain, %'], colors=_ramp(),
                      tags=tags, overwrite=overwrite) as writer:
        writer.write(0, values)


def verdict(gap: Gap, kind: str = 'style') -> str:
    """Say in words how far a gap is, by the nearest of `KNOWN_GAPS`."""
    scale = [(getattr(known, kind), known.name) for known in KNOWN_GAPS]
    lowest, (highest, farthest) = min(scale)[0], max(scale)
    if gap.shift <= lowest:
        return 'like the training domain'
    if gap.shift > highest:
        return f'farther than {farthest}'
    return 'as far as ' + min(scale, key=lambda known: abs(known[0] - gap.shift))[1]


def place(gap: Gap, kind: str = 'style') -> str:
    """Say where a gap lies among `KNOWN_GAPS`, by those just below and above it."""
    scale = sorted((getattr(known, kind), known.name) for known in KNOWN_GAPS)
    below = [known for known in scale if known[0] <= gap.shift]
    sides = [('above', below[-1:]), ('below', scale[len(below):][:1])]
    return ', '.join(f'{side} {known[0][0]:.2f} ({known[0][1]})' for side, known in sides if known)


def _coarse(grid: Grid, tile: int) -> Grid:
    """The grid whose pixels are tiles."""
    height, width = (-(-side // tile) for side in (grid.height, grid.width))
    transform, gcps = grid.transform, grid.gcps
    if transform is not None:
        transform = transform * transform.scale(tile, tile)
    if gcps:
        from rasterio.control import GroundControlPoint

        gcps = tuple(GroundControlPoint(p.row / tile, p.col / tile, p.x, p.y, p.z) for p in gcps)
    return Grid(height, width, grid.crs, transform, gcps, grid.area_or_point)


def _ramp() -> list[tuple[int, int, int]]:
    """Blue inside the domain, white at its edge, red outside."""
    levels = np.clip(np.arange(NO_DATA) / 100, 0, 2) - 1
    faded = (255 * (1 - np.abs(levels))).astype(int)
    return [(255, int(f), int(f)) if level > 0 else (int(f), int(f), 255)
            for level, f in zip(levels, faded, strict=True)]
