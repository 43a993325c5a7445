# SPDX-License-Identifier: Apache-2.0
"""The feature distance against its formula in NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from crossearth.models.losses import FeatureDistance
from crossearth.models.losses.feature_distance import dominant_classes

CLASSES = 3


class Pooled(nn.Module):
    """A backbone whose last map is the image's mean in cells of 4 px."""

    def forward(self, image):
        return [image, nn.functional.avg_pool2d(image, 4)]


def formula(images, features, labels, weight, classes, min_ratio):
    """Sum of distances over counted cells of 4 px, by their number."""
    total, number = 0.0, 0
    for b, y, x in np.ndindex(len(images), *features.shape[2:]):
        rows, columns = slice(4 * y, 4 * y + 4), slice(4 * x, 4 * x + 4)
        expected = images[b, :, rows, columns].mean(axis=(1, 2))
        shares = [(labels[b, rows, columns] == c).mean() for c in range(CLASSES)]
        if max(shares) >= min_ratio and int(np.argmax(shares)) in classes:
            total += np.sqrt(((features[b, :, y, x] - expected) ** 2).sum())
            number += 1
    return weight * total / max(number, 1), number


@pytest.mark.parametrize('classes', [None, (1,), (0, 2)])
@pytest.mark.parametrize('min_ratio', [0.75, 0.5])
def test_formula(classes, min_ratio):
    rng = np.random.default_rng(0)
    images, features = rng.normal(size=(2, 3, 16, 24)), rng.normal(size=(2, 3, 4, 6))
    cells = rng.choice([0, 1, 2, 255], (2, 4, 6))
    labels = cells.repeat(4, 1).repeat(4, 2)
    mixed = rng.random(labels.shape) < 0.3  # some cells fall below the ratio
    labels[mixed] = rng.choice([0, 1, 2, 255], mixed.sum())
    loss = FeatureDistance(Pooled(), CLASSES, weight=0.2, classes=classes, min_ratio=min_ratio)
    expected, number = formula(
        images, features, labels, 0.2, classes or range(CLASSES), min_ratio)
    assert 0 < number < 48
    got = loss(*(torch.from_numpy(array) for array in (images, features, labels)))
    assert got.item() == pytest.approx(expected, rel=1e-5)


def test_nothing_counts():
    loss = FeatureDistance(Pooled(), CLASSES)
    features = torch.randn(1, 3, 4, 4, requires_grad=True)
    got = loss(torch.randn(1, 3, 16, 16), features, torch.full((1, 16, 16), 255))
    got.backward()
    assert got.item() == 0
    assert not features.grad.any()


def test_gradient_is_finite_where_nothing_has_changed_yet():
    image = torch.randn(1, 3, 16, 16)
    features = Pooled()(image)[-1].requires_grad_()
    FeatureDistance(Pooled(), CLASSES)(image, features, torch.zeros(1, 16, 16)).backward()
    assert torch.isfinite(features.grad).all()


def test_grids_that_do_not_divide_the_label():
    labels = torch.zeros(1, 10, 7, dtype=torch.uint8)
    labels[:, :, 5:] = 2
    assert dominant_classes(labels, 3, (3, 2), 0.5)[0, 0].tolist() == [0, 0]
    assert dominant_classes(labels, 3, (3, 2), 0.9)[0, 0].tolist() == [0, 3]
