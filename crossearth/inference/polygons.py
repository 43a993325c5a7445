# SPDX-License-Identifier: Apache-2.0
"""Bands of labels -> polygons of equal labels, as if the whole raster were in memory.

Each band is polygonised by itself. Parts that touch along a band's border belong together, but they
are united only once no further band can touch them: a polygon is united once, however many bands it
crosses, and let go as soon as it is finished. Coordinates are pixels (x = column, y = row), whole
numbers, on which all of this is exact.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossearth.errors import MissingDependencyError
from crossearth.inference.stream import NO_DATA

__all__ = ['Band', 'Patch', 'import_shapely', 'patches', 'weigh']


@dataclass(frozen=True)
class Band:
    """Some rows of a map.

    Args:
        first: First row in the raster.
        label: (rows, width) uint8; 255 belongs to no polygon.
        values: (rows, width) uint8, added up over each polygon, or None.
    """

    first: int
    label: np.ndarray
    values: np.ndarray | None = None


@dataclass(frozen=True)
class Patch:
    """Connected pixels of one class; a pixel's neighbours are above, below, left and right of it.

    Args:
        class_id: The class.
        polygon: Its outline with holes, a shapely polygon in px.
        total: Sum of the band's values over its pixels; 0 without values.
    """

    class_id: int
    polygon: Any
    total: float


def import_shapely() -> Any:
    """Import shapely.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import shapely
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "polygons need the package shapely. Run: pip install 'crossearth[geo]'.") from error
    return shapely


def patches(bands: Iterable[Band]) -> Iterator[Patch]:
    """Polygonise a map.

    Args:
        bands: The map from top to bottom, without gaps, all of one width.

    Yields:
        Its polygons, each as soon as it is finished.
    """
    unfinished: list[_Component] = []
    above = None  # (width,) which of the unfinished ones holds the last row's pixels; -1 for none
    for band in bands:
        found = _components(band)
        forest = _Forest([*unfinished, *found])
        if above is not None:
            below = _along(found, band.first, band.label.shape[1], offset=len(unfinished))
            forest.join_neighbours(above, below)
        bottom = _along(
            found, band.first + len(band.label), band.label.shape[1], offset=len(unfinished))
        unfinished, above, finished = forest.part(bottom)
        yield from (component.finish() for component in finished)
    yield from (component.finish() for component in unfinished)


def weigh(polygon: Any, rows: np.ndarray) -> float:
    """Add up a weight over the pixels of a polygon, where the weight depends on the row only.

    Args:
        polygon: A polygon in px, as of `Patch`.
        rows: (height + 1,) sums of the weights of all rows above, 0 first.
    """
    return _enclosed(polygon, lambda x, y: x * rows[y])


class _Component:
    """Parts that are known to belong together."""

    def __init__(self, class_id: int, polygon: Any, total: float) -> None:
        self.class_id = class_id
        self.parts = [polygon]
        self.total = total

    def finish(self) -> Patch:
        polygon = self.parts[0]
        if len(self.parts) > 1:
            shapely = import_shapely()
            whole = shapely.union_all(self.parts)
            outline, *holes = (_corners(shapely.get_coordinates(ring))
                               for ring in (whole.exterior, *whole.interiors))
            polygon = shapely.Polygon(outline, holes)
        return Patch(self.class_id, polygon, self.total)


class _Forest:
    """Components that turn out to be one (union-find)."""

    def __init__(self, components: Sequence[_Component]) -> None:
        self.components = components
        self.parent = list(range(len(components)))

    def root(self, node: int) -> int:
        while self.parent[node] != node:
            self.parent[node] = node = self.parent[self.parent[node]]
        return node

    def join_neighbours(self, above: np.ndarray, below: np.ndarray) -> None:
        """Join what touches along a line of pixels; both (width,) hold nodes, or -1."""
        pairs = np.stack([above, below])[:, (above >= 0) & (below >= 0)]
        for pair in np.unique(pairs, axis=1).T.tolist():
            if self.components[pair[0]].class_id == self.components[pair[1]].class_id:
                self._join(*map(self.root, pair))

    def _join(self, a: int, b: int) -> None:
        if a == b:
            return
        if len(self.components[a].parts) < len(self.components[b].parts):
            a, b = b, a  # the longer list grows, so that no part is moved more than log n times
        self.parent[b] = a
        self.components[a].parts += self.components[b].parts
        self.components[a].total += self.components[b].total

    def part(self, bottom: np.ndarray) -> tuple[list[_Component], np.ndarray, list[_Component]]:
        """Part what touches the bottom from what is finished.

        Returns:
            What touches it, the place of each column's pixel (width,) therein or -1, and the rest.
        """
        roots = np.array([self.root(node) for node in range(len(self.parent))], np.int64)
        there = bottom >= 0
        kept, places = np.unique(roots[bottom[there]], return_inverse=True)
        above = np.full(len(bottom), -1)
        above[there] = places
        finished = np.setdiff1d(roots, kept)
        return ([self.components[node] for node in kept.tolist()], above,
                [self.components[node] for node in finished.tolist()])


def _components(band: Band) -> list[_Component]:
    """Polygonise one band."""
    from rasterio import Affine
    from rasterio.features import shapes

    sums: Any = None
    if band.values is not None:  # of all values above and left of a corner of pixels
        sums = np.zeros([side + 1 for side in band.label.shape], np.int64)
        sums[1:, 1:] = band.values.cumsum(0, np.int64).cumsum(1)
    found: list[int] = []
    points: list[tuple[float, float]] = []
    ring_of_point: list[int] = []
    polygon_of_ring: list[int] = []
    for geometry, value in shapes(
            band.label, mask=band.label != NO_DATA, connectivity=4,
            transform=Affine.translation(0, band.first)):
        for ring in geometry['coordinates']:  # the outline, then the holes
            points += ring
            ring_of_point += [len(polygon_of_ring)] * len(ring)
            polygon_of_ring.append(len(found))
        found.append(int(value))
    polygons = _build(points, ring_of_point, polygon_of_ring)
    return [
        _Component(class_id, polygon, 0.0 if sums is None else _enclosed(
            polygon, lambda x, y: sums[y - band.first, x]))
        for class_id, polygon in zip(found, polygons, strict=True)]


def _build(
    points: Sequence[tuple[float, float]], ring_of_point: Sequence[int],
    polygon_of_ring: Sequence[int],
) -> Sequence[Any]:
    """Make all polygons of a band at once: one by one takes several times as long."""
    if not points:
        return ()
    shapely = import_shapely()
    rings = shapely.linearrings(np.array(points), indices=np.array(ring_of_point))
    polygons: Sequence[Any] = shapely.polygons(rings, indices=np.array(polygon_of_ring))
    return polygons


def _along(components: Sequence[_Component], row: int, width: int, offset: int) -> np.ndarray:
    """Which component (its index + offset) has an edge on each pixel of a line, (width,); or -1."""
    shapely = import_shapely()
    nodes = np.full(width, -1)
    bounds = shapely.bounds([component.parts[0] for component in components]).reshape(-1, 4)
    for index in np.flatnonzero((bounds[:, 1] == row) | (bounds[:, 3] == row)).tolist():
        x, y = shapely.get_coordinates(components[index].parts[0].exterior).astype(int).T
        on = (y[:-1] == row) & (y[1:] == row)
        for start, end in zip(x[:-1][on].tolist(), x[1:][on].tolist(), strict=True):
            nodes[min(start, end):max(start, end)] = index + offset
    return nodes


def _enclosed(
    polygon: Any, sums: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> float:
    """Add up what lies in a polygon by its outline only (Green's theorem on pixels).

    Args:
        polygon: Its edges are horizontal or vertical.
        sums: Corners of pixels (x, y) -> what lies above and left of them.
    """
    shapely = import_shapely()
    rings = []
    for ring in (polygon.exterior, *polygon.interiors):
        x, y = shapely.get_coordinates(ring).astype(int).T
        rings.append(abs(float((sums(x[:-1], y[1:]) - sums(x[:-1], y[:-1])).sum())))
    return rings[0] - sum(rings[1:])


def _corners(ring: np.ndarray) -> np.ndarray:
    """Leave out points of a closed ring (n, 2) where it goes straight on."""
    points = ring[:-1]
    before, after = points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points
    return points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
