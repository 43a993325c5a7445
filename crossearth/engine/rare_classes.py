# SPDX-License-Identifier: Apache-2.0
"""Rare-class sampling: images with rare classes come more often.

Hoyer et al. 2022, DAFormer (arXiv 2111.14887), section 3.2: a class c that holds the share f_c of
all labelled pixels is drawn with probability P(c) ~ exp((1 - f_c) / T), then one of the images that
show it.
"""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from numpy.typing import NDArray

from crossearth.datasets.labels import LabelRule
from crossearth.errors import ConfigError, DataError
from crossearth.registry import DATA_SAMPLERS
from crossearth.transforms.loading import LoadLabel
from crossearth.weight_files import cache_folder, write_atomically

from .sampler import InfiniteSampler

__all__ = ['RareClassSampler', 'class_pixels', 'class_probabilities']

THREADS = 8  # reading a label releases the interpreter


@DATA_SAMPLERS.register_module()
class RareClassSampler(InfiniteSampler):
    """Samples without end, by class and then by image.

    As with `InfiniteSampler` there is one sequence for all ranks, which can start anywhere; an
    epoch is as many draws as the data set has images, and may show some twice and others never.
    Pixels are counted in the whole labels, before any crop; the counts are cached. In a config:

        train_dataloader = dict(sampler=dict(_delete_=True, type='RareClassSampler'))

    Args:
        dataset: A data set of CrossEarth.
        temperature: T; the higher, the more equal the classes.
        min_pixels: Pixels of a class by which an image shows it.
        seed: Seed of the sequence; None for a random one, the same on all ranks.

    Raises:
        ConfigError: T is not positive.
        DataError: No image shows any class, or labels cannot be read.
    """

    def __init__(
        self,
        dataset: BaseDataset,
        temperature: float = 0.01,
        min_pixels: int = 3000,
        seed: int | None = None,
    ) -> None:
        super().__init__(dataset, seed=seed)
        if temperature <= 0:
            raise ConfigError(f'train_dataloader.sampler.temperature={temperature} is no '
                              'temperature. Choose a positive one, e.g. 0.01.')
        pixels = class_pixels(dataset)
        self.images = [np.flatnonzero(column >= min_pixels) for column in pixels.T]
        shown = np.array([len(images) > 0 for images in self.images])
        if not shown.any():
            raise DataError(
                f'no training image has {min_pixels} pixels of any class, so rare classes cannot '
                'be sampled. Lower train_dataloader.sampler.min_pixels.')
        self.probabilities = class_probabilities(pixels.sum(axis=0), temperature, shown)

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        """Draw the indices of an epoch."""
        rng = np.random.default_rng([self.seed, epoch])
        classes = rng.choice(len(self.images), self.size, p=self.probabilities)
        places = rng.random(self.size)
        return np.array([
            self.images[c][int(place * len(self.images[c]))]
            for c, place in zip(classes, places, strict=True)], np.int64)


def class_probabilities(
    pixels: NDArray[np.int64], temperature: float, shown: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Probability of every class: softmax of (1 - share of the pixels) / T.

    Args:
        pixels: Pixels of each class (C,).
        temperature: T.
        shown: Classes that can be drawn (C,); the others get 0.
    """
    rarity = (1 - pixels / pixels.sum()) / temperature
    weights: NDArray[np.float64] = np.exp(rarity - rarity[shown].max()) * shown
    return weights / weights.sum()


def class_pixels(dataset: BaseDataset) -> NDArray[np.int64]:
    """Count the labelled pixels (N, C) of every class in every image of a data set.

    They are kept in the cache folder, and counted anew when a label has changed.

    Raises:
        DataError: A label cannot be read.
    """
    samples = [dataset.get_data_info(index) for index in range(len(dataset))]
    count = len(dataset.metainfo['classes'])
    path = cache_folder() / 'class_pixels' / f'{_fingerprint(samples, count)}.npy'
    if path.is_file():
        pixels: NDArray[np.int64] = np.load(path)
        return pixels
    load = LoadLabel()

    def count_pixels(sample: dict[str, Any]) -> NDArray[np.int64]:
        label = load.transform(sample)['gt_seg_map']
        return np.bincount(label.ravel(), minlength=256)[:count]

    with ThreadPoolExecutor(THREADS) as pool:
        pixels = np.stack(list(pool.map(count_pixels, samples)))
    content = io.BytesIO()
    np.save(content, pixels)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())
    return pixels


def _fingerprint(samples: list[dict[str, Any]], count: int) -> str:
    """Digest of what the counts depend on: names, sizes and times of the labels, and their rule."""
    digest = hashlib.sha256(str(count).encode())
    for sample in samples:
        path = Path(sample['seg_map_path'])
        state = path.stat()
        rule = [sample[field.name] for field in fields(LabelRule)]
        digest.update(repr((path.absolute(), state.st_size, state.st_mtime_ns, rule)).encode())
    return digest.hexdigest()[:32]
