# SPDX-License-Identifier: Apache-2.0
"""Two baselines that know nothing, to tell what a number is worth.

The first gives every pixel the majority class of the source. The second, for two classes, compares
one colour feature with a threshold; both are chosen on the source, as a model would have to.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from numpy.typing import NDArray

from crossearth.errors import ConfigError, DataError
from crossearth.transforms import LoadImage, LoadLabel

from .confusion import confusion
from .record import DomainReport, DomainResult

__all__ = ['Baseline', 'ColourThreshold', 'MajorityClass', 'fit_baselines', 'test_baselines']

MAX_IMAGES = 200      # of the source
MAX_PIXELS = 2**16    # of one of its images
LEVELS = 256

Image = NDArray[np.int16]
Feature = Callable[[Image, Image, Image], NDArray[np.integer]]

# Each takes red, green, blue (H, W) and gives integers from 0 to 255.
FEATURES: Mapping[str, Feature] = {
    'red': lambda r, g, b: r,
    'green': lambda r, g, b: g,
    'blue': lambda r, g, b: b,
    'brightness': lambda r, g, b: (r + g + b) // 3,
    'saturation': lambda r, g, b: _saturation(np.stack([r, g, b])),
    'excess red': lambda r, g, b: (2 * r - g - b + 510) // 4,
    'excess green': lambda r, g, b: (2 * g - r - b + 510) // 4,
    'excess blue': lambda r, g, b: (2 * b - r - g + 510) // 4,
}


class Baseline(Protocol):
    """A rule from colours to classes."""

    @property
    def rule(self) -> str:
        """The rule in words."""

    def predict(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Give the class (H, W) of each pixel of a BGR image (H, W, 3)."""


@dataclass(frozen=True)
class MajorityClass:
    """The same class everywhere.

    Args:
        label: The class.
        title: Its name.
    """

    label: int
    title: str

    @property
    def rule(self) -> str:
        """The rule in words."""
        return f'{self.title} everywhere'

    def predict(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Give the class (H, W) of each pixel of a BGR image (H, W, 3)."""
        return np.full(image.shape[:2], self.label, dtype=np.uint8)


@dataclass(frozen=True)
class ColourThreshold:
    """Foreground where a colour feature lies above a threshold, or where it does not.

    Args:
        feature: One of `FEATURES`.
        threshold: From 0 to 254.
        above: Whether the foreground lies above.
        foreground: Its class, 0 or 1.
        title: Its name.
    """

    feature: str
    threshold: int
    above: bool
    foreground: int
    title: str

    @property
    def rule(self) -> str:
        """The rule in words."""
        sign = '>' if self.above else '<='
        return f'{self.title} where {self.feature} {sign} {self.threshold}'

    def predict(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Give the class (H, W) of each pixel of a BGR image (H, W, 3)."""
        hit = (_feature(self.feature, image) > self.threshold) == self.above
        return np.where(hit, self.foreground, 1 - self.foreground).astype(np.uint8)


def fit_baselines(source: BaseDataset, foreground: int | None = None) -> dict[str, Baseline]:
    """Choose the rules on at most 200 evenly spaced images of the source.

    Args:
        source: Training data, without a pipeline.
        foreground: Class whose IoU the threshold shall maximise; default the second of two.

    Returns:
        The baselines by name; the threshold only where there are two classes.

    Raises:
        ConfigError: The data set's samples are not those of `DomainSegDataset`.
        DataError: The images cannot be read, or have no labelled pixel of the foreground.
    """
    classes = source.metainfo['classes']
    histograms = _histograms(source, len(classes))
    majority = int(histograms[0].sum(axis=1).argmax())
    baselines: dict[str, Baseline] = {
        f'all {classes[majority]}': MajorityClass(majority, classes[majority])}
    if len(classes) == 2:
        chosen = 1 if foreground is None else foreground
        if not histograms[0, chosen].any():
            raise DataError(
                f"the source has no labelled pixel of '{classes[chosen]}', so no threshold can "
                'be chosen. Check its labels, or test with baselines=False.')
        baselines['colour threshold'] = _best_threshold(histograms, chosen, classes[chosen])
    return baselines


def test_baselines(
    baselines: Mapping[str, Baseline], dataset: BaseDataset, like: DomainReport
) -> dict[str, DomainReport]:
    """Test baselines in one pass over the images on which a model was tested.

    Args:
        baselines: What `fit_baselines` gave.
        dataset: Test data; its own pipeline is not used.
        like: The model's report, which names classes, source, foreground and domains.

    Returns:
        A report for each baseline.

    Raises:
        ConfigError: The data set's samples are not those of `DomainSegDataset`.
        DataError: An image cannot be read.
    """
    size = len(like.classes)
    counts = {(name, domain): np.zeros((size, size), dtype=np.int64)
              for name in baselines for domain in like.domains}
    for sample in _samples(dataset, range(len(dataset))):
        label = torch.from_numpy(sample['gt_seg_map'])
        for name, baseline in baselines.items():
            prediction = torch.from_numpy(baseline.predict(sample['img']))
            counts[name, sample['domain']] += confusion(prediction, label, size)
    return {
        name: DomainReport(like.classes, like.source, {
            domain: DomainResult(counts[name, domain], result.num_samples)
            for domain, result in like.domains.items()}, like.foreground)
        for name in baselines}


test_baselines.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it


def _samples(dataset: BaseDataset, indices: range) -> Iterator[dict[str, Any]]:
    """Load image and label of samples with the readers of our own pipelines."""
    load_image, load_label = LoadImage(), LoadLabel()
    for index in indices:
        try:
            sample = load_label(load_image(dataset.get_data_info(index)))
        except KeyError as error:
            raise ConfigError(
                f'baselines need samples as DomainSegDataset makes them, but those of '
                f'{type(dataset).__name__} have no {error}. Set baselines=False in '
                'DomainReportHook, or use a data set of CrossEarth.') from error
        yield sample


def _histograms(dataset: BaseDataset, num_classes: int) -> NDArray[np.int64]:
    """Count the pixels (features, C, 256) of each class at each level of each feature."""
    found = np.zeros((len(FEATURES), num_classes, LEVELS), dtype=np.int64)
    spacing = -(-len(dataset) // MAX_IMAGES)
    for sample in _samples(dataset, range(0, len(dataset), spacing)):
        step = int(np.ceil(np.sqrt(sample['gt_seg_map'].size / MAX_PIXELS)))
        label = sample['gt_seg_map'][::step, ::step]
        labelled = label < num_classes
        classes = label[labelled].astype(np.int64) * LEVELS
        for index, name in enumerate(FEATURES):
            levels = _feature(name, sample['img'][::step, ::step])[labelled]
            found[index] += np.bincount(
                classes + levels, minlength=num_classes * LEVELS).reshape(num_classes, LEVELS)
    return found


def _best_threshold(
    histograms: NDArray[np.int64], foreground: int, title: str
) -> ColourThreshold:
    """The feature, threshold and side with the best IoU of the foreground."""
    below = histograms.cumsum(axis=2)[:, :, :-1]  # pixels whose level is <= the threshold
    total = histograms.sum(axis=2, keepdims=True)
    sides = np.stack([below, total - below])      # (side, feature, class, threshold)
    hits, misses = sides[:, :, foreground], sides[:, :, 1 - foreground]
    iou = hits / (total[:, foreground] + misses)
    side, feature, threshold = np.unravel_index(iou.argmax(), iou.shape)
    return ColourThreshold(
        list(FEATURES)[feature], int(threshold), bool(side), foreground, title)


def _feature(name: str, image: NDArray[np.uint8]) -> NDArray[np.integer]:
    blue, green, red = np.moveaxis(image.astype(np.int16), 2, 0)
    return FEATURES[name](red, green, blue)


def _saturation(bands: Image) -> NDArray[np.integer]:
    """Share of colour in a pixel, as in HSV; black counts as grey."""
    high = bands.max(axis=0).astype(np.int32)
    return (high - bands.min(axis=0)) * 255 // np.maximum(high, 1)
