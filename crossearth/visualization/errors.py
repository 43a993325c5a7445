# SPDX-License-Identifier: Apache-2.0
"""Where a model is wrong although it is sure, and whether it is as right as it says."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .charts import add_scales, chart_figure, domain_styles, heat, plain_name, rendered, write_rows
from .palettes import colorize
from .pictures import PictureRow, comparison_picture, save_picture
from .subjects import Subject
from .tiles import IGNORED, Tile, TileSet

__all__ = ['Reliability', 'TileErrors', 'rank_errors', 'reliability_chart',
           'write_errors']

BINS = 15
SURE, WRONG = 'viridis', 'Reds'  # colour maps


@dataclass(frozen=True)
class TileErrors:
    """What is wrong in one tile.

    Args:
        accuracy: Share of the labelled pixels that are right.
        confidence: Mean confidence of these pixels.
        sure_errors: Mean over these pixels of the confidence where they are wrong, 0 where they
            are right: 1 for a tile that is wrong everywhere and sure of it.
        truth: Class that is most often taken for another one; -1 where nothing is wrong.
        prediction: Class that it is taken for.
    """

    accuracy: float
    confidence: float
    sure_errors: float
    truth: int
    prediction: int


def rank_errors(
    label: NDArray[np.integer], prediction: NDArray[np.integer],
    confidence: NDArray[np.floating],
) -> TileErrors:
    """Measure the errors of a tile.

    Args:
        label: (H, W), 255 where ignored; without a labelled pixel all numbers are 0.
        prediction: (H, W).
        confidence: Share of the predicted class in all scores, (H, W), 0 to 1.
    """
    known = label != IGNORED
    truth, told, sure = label[known].astype(int), prediction[known].astype(int), confidence[known]
    wrong = truth != told
    if not known.any():
        return TileErrors(0.0, 0.0, 0.0, -1, -1)
    pair = (-1, -1)
    if wrong.any():
        pairs, counts = np.unique(np.stack([truth, told])[:, wrong], axis=1, return_counts=True)
        most = counts.argmax()
        pair = int(pairs[0, most]), int(pairs[1, most])
    return TileErrors(float(1 - wrong.mean()), float(sure.mean()),
                      float(np.where(wrong, sure, 0).mean()), *pair)


class Reliability:
    """Accuracy of pixels by their confidence, in 15 bins of equal width.

    Attributes:
        pixels: Number of pixels (15,).
        confidence: Their mean confidence (15,), NaN in empty bins.
        accuracy: Share that is right (15,), NaN in empty bins.
    """

    def __init__(self) -> None:
        self._sums = np.zeros((3, BINS))  # pixels, confidence, right ones

    def add(self, confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> None:
        """Count labelled pixels: their confidence, 0 to 1, and whether they are right."""
        bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
        self._sums += [np.bincount(bins.ravel(), weights, BINS) for weights in (
            None, confidence.ravel().astype(np.float64), right.ravel().astype(np.float64))]

    @property
    def pixels(self) -> NDArray[np.int64]:
        """Pixels of each bin."""
        return self._sums[0].astype(np.int64)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Mean confidence of each bin."""
        return self._mean(1)

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Accuracy of each bin."""
        return self._mean(2)

    @property
    def ece(self) -> float:
        """Expected calibration error: sum of |accuracy - confidence| weighted by pixels.

        Naeini et al. 2015; Guo et al. 2017, Eq. 3. NaN without a pixel.
        """
        pixels, confidence, right = self._sums
        return float(np.abs(right - confidence).sum() / pixels.sum()) if pixels.any() else np.nan

    def _mean(self, row: int) -> NDArray[np.float64]:
        mean = np.full(BINS, np.nan)
        np.divide(self._sums[row], self._sums[0], out=mean, where=self._sums[0] > 0)
        return mean


def reliability_chart(curves: dict[str, Reliability], tiles: TileSet, title: str) -> Any:
    """Draw the accuracy of each domain against the confidence, and below how many are how sure.

    Args:
        curves: By domain.
        tiles: For the names of the domains.
        title: Line above.

    Returns:
        RGB picture (H, W, 3).
    """
    figure = chart_figure(6.4, 6.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color='0.6', linewidth=1, linestyle=':', label='as sure as right')
    edges = np.linspace(0, 1, BINS + 1)
    for domain, style in domain_styles(list(curves)).items():
        curve = curves[domain]
        known = curve.pixels > 0
        upper.plot(curve.confidence[known], curve.accuracy[known], markersize=5, linewidth=1.5,
                   label=f'{tiles.title(domain)}: ECE {100 * curve.ece:.1f} %', **style)
        lower.stairs(curve.pixels / max(curve.pixels.sum(), 1), edges, color=style['color'],
                     linewidth=1.3)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel='accuracy')
    lower.set(xlabel="confidence (the winner's share of the scores)", ylabel='share of pixels')
    for axes in (upper, lower):
        axes.grid(color='0.9', linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[['top', 'right']].set_visible(False)
    figure.suptitle(title, fontsize=12, fontweight='bold')
    figure.legend(loc='outside lower center', ncols=2, frameon=False, fontsize=8.5)
    return rendered(figure)


def write_errors(subject: Subject, tiles: TileSet, out: Path, *, worst: int) -> list[Path]:
    """Write the worst tiles, the ranking of all, and the reliability of the confidence.

    Args:
        subject: The model.
        tiles: What is tested.
        out: Folder.
        worst: Tiles that are shown.

    Returns:
        The files.
    """
    found: list[tuple[TileErrors, Tile]] = []
    curves = {domain: Reliability() for domain in tiles.domains}
    for tile in tiles.tiles:
        prediction, confidence = _predict(subject, tile)
        known = tile.label != IGNORED
        curves[tile.domain].add(confidence[known], (prediction == tile.label)[known])
        found.append((rank_errors(tile.label, prediction, confidence), tile))
    found.sort(key=lambda pair: -pair[0].sure_errors)
    picture = comparison_picture(
        [_row(subject, tile, tiles) for _, tile in found[:worst]], tiles.classes, tiles.palette,
        f'{subject.title}: wrong and sure')
    save_picture(add_scales(picture, {
        'confidence': (SURE, 0, 1), 'confidence where wrong': (WRONG, 0, 1)}), out / 'errors.png')
    save_picture(reliability_chart(curves, tiles, f'{subject.title}: reliability'),
                 out / 'reliability.png')
    return [out / 'errors.png', write_rows(out / 'errors.csv', _ranking(found, tiles)),
            out / 'reliability.png', write_rows(out / 'reliability.csv', _bins(curves))]


def _predict(subject: Subject, tile: Tile) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    height, width = tile.label.shape
    shares = subject.scores(tile.image, (height, width))
    return shares.argmax(0), shares.max(0)


def _row(subject: Subject, tile: Tile, tiles: TileSet) -> PictureRow:
    prediction, confidence = _predict(subject, tile)  # again: those of all tiles are too large
    wrong = (prediction != tile.label) & (tile.label != IGNORED)
    return PictureRow(tiles.title(tile.domain), {
        'Image': tile.view, 'Truth': colorize(tile.label, tiles.palette),
        'Prediction': colorize(prediction, tiles.palette),
        'Confidence': heat(confidence, 0, 1, SURE),
        'Confidence where wrong': np.where(
            wrong[..., None], heat(confidence, 0, 1, WRONG), np.uint8(255)).astype(np.uint8)})


def _ranking(found: Iterable[tuple[TileErrors, Tile]], tiles: TileSet) -> list[dict[str, Any]]:
    def name(label: int) -> str:
        return plain_name(tiles.classes[label]) if label >= 0 else ''

    return [{
        'rank': rank, 'domain': tile.domain, 'tile': tile.path, 'sure_errors': errors.sure_errors,
        'accuracy': errors.accuracy, 'confidence': errors.confidence,
        'most_confused_truth': name(errors.truth), 'taken_for': name(errors.prediction)}
        for rank, (errors, tile) in enumerate(found, 1)]


def _bins(curves: dict[str, Reliability]) -> list[dict[str, Any]]:
    return [{
        'domain': domain, 'ece': curve.ece, 'from': index / BINS, 'to': (index + 1) / BINS,
        'pixels': int(curve.pixels[index]), 'confidence': float(curve.confidence[index]),
        'accuracy': float(curve.accuracy[index])}
        for domain, curve in curves.items() for index in range(BINS)]
