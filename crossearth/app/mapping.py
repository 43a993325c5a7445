# SPDX-License-Identifier: Apache-2.0
"""One upload -> the map, its polygons, and what the page shows of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossearth.app.jobs import Job, Tell, in_words
from crossearth.app.pictures import paint_confidence, paint_map, paint_scene
from crossearth.inference.card import Card
from crossearth.inference.pipeline import PredictionReport
from crossearth.inference.predictor import Predictor
from crossearth.inference.raster import open_raster, raster_info
from crossearth.inference.scene import SceneOptions, predict_scene
from crossearth.inference.stream import NO_DATA

__all__ = ['DOWNLOADS', 'PICTURES', 'Gauge', 'SceneMapper', 'area_unit', 'mean_confidence']

PICTURES = ('image.png', 'map.png', 'confidence.png')
DOWNLOADS = ('map.tif', 'map.qml', 'confidence.tif', 'polygons.gpkg')
UNITS = ((1e6, 'km²'), (1e4, 'ha'), (1.0, 'm²'))  # square metres, name

# scene and options -> `verdict`, `place` and numbers, or `error`
Gauge = Callable[[str, SceneOptions], Mapping[str, Any]]


class SceneMapper:
    """Map uploads with one model.

    Args:
        predictor: The network, with its card.
        gauge: Measures how far a scene is from the training domain.
    """

    def __init__(self, predictor: Predictor, gauge: Gauge) -> None:
        self.predictor = predictor
        self.gauge = gauge

    def __call__(self, job: Job, tell: Tell) -> dict[str, Any]:
        """Make the result of a job; its files lie in the job's folder.

        Raises:
            CrossEarthError: The upload cannot be read or does not fit the model.
        """
        folder, card = job.folder, self.predictor.card
        options = SceneOptions(
            **job.options, confidence=folder / 'confidence.tif', vector=folder / 'polygons.gpkg',
            allow_no_crs=True, tags={'source': job.name})
        tell('Reading the scene', 0, 0)

        def count(done: int, total: int) -> None:
            tell(*(('Mapping', done, total) if done < total else ('Drawing polygons', 0, 0)))

        report = predict_scene(
            job.upload, self.predictor, folder / 'map.tif', options, progress=count)
        tell('Comparing with the training domain', 0, 0)
        gap = self.gauge(str(job.upload), options)
        tell('Painting', 0, 0)
        paint_scene(job.upload, folder / 'image.png', card, options)
        paint_map(folder / 'map.tif', folder / 'map.png', card.palette)
        paint_confidence(folder / 'confidence.tif', folder / 'confidence.png')
        return {**_summary(job, report, card), 'gap': _gap(gap, job)}


def area_unit(square_metres: Sequence[float]) -> tuple[float, str]:
    """The unit for a table of areas, by the largest of them: its size in m2, and its name."""
    largest = max(square_metres)
    return next((unit for unit in UNITS if largest >= unit[0]), UNITS[-1])


def mean_confidence(
    map_path: Path, confidence_path: Path, number: int
) -> tuple[float | None, list[float | None]]:
    """Mean of the confidence in percent: of all pixels, and of those of each class.

    Args:
        map_path: Map of classes.
        confidence_path: Confidence on the same grid.
        number: Number of classes.

    Returns:
        Means; None where there is no pixel.
    """
    sums, counts = np.zeros(number), np.zeros(number, np.int64)
    with open_raster(map_path) as classes, open_raster(confidence_path) as confidence:
        for _, window in classes.block_windows(1):
            label = classes.read(1, window=window)
            known = label != NO_DATA
            values = confidence.read(1, window=window)[known]
            sums += np.bincount(label[known], values, number)
            counts += np.bincount(label[known], minlength=number)
    means = [float(total / count) if count else None
             for total, count in zip(sums, counts, strict=True)]
    return float(sums.sum() / counts.sum()) if counts.any() else None, means


def _summary(job: Job, report: PredictionReport, card: Card) -> dict[str, Any]:
    info = raster_info(job.folder / 'map.tif')
    mean, means = mean_confidence(
        job.folder / 'map.tif', job.folder / 'confidence.tif', len(card.classes))
    areas = report.square_metres
    size, unit = area_unit(list(areas.values())) if areas else (1.0, 'px')
    total = sum(report.pixels.values())
    valid = total - report.pixels['no data']
    classes = [
        {'name': name, 'color': list(color), 'pixels': report.pixels[name],
         'percent': 100 * report.pixels[name] / max(valid, 1),
         'square_metres': areas and areas[name],
         'area': areas[name] / size if areas else report.pixels[name], 'confidence': confidence}
        for name, color, confidence in zip(card.classes, card.palette, means, strict=True)]
    return {
        'name': job.name, 'width': info.grid.width, 'height': info.grid.height,
        'gsd_m': info.gsd_m, 'crs': info.grid.crs.to_string() if info.grid.crs else None,
        'unit': unit, 'classes': classes, 'confidence': mean,
        'no_data_percent': 100 * report.pixels['no data'] / total,
        'notes': [in_words(text, job) for text in report.warnings], 'seconds': report.seconds}


def _gap(found: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """What the page shows of a gauge's report."""
    if 'error' in found:
        return {'error': in_words(found['error'], job)}
    kind = 'style' if 'style' in found else 'features'
    return {'verdict': found['verdict'], 'place': found['place'], 'kind': kind,
            'reference': found['reference'], 'shift': found[kind]['shift'],
            'outside_percent': 100 * found[kind]['outside'], 'tiles': found[kind]['tiles']}
