# SPDX-License-Identifier: Apache-2.0
"""Tiny data sets on disk."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

Maker = Callable[..., Path]


@pytest.fixture
def make_pairs(tmp_path: Path) -> Maker:
    """Write pairs of noise into `{img_dir}/{name}{suffix}` and the like, and return the root."""
    def make(img_dir: str = 'train/dry/images', ann_dir: str = 'train/dry/labels', names=('a', 'b'),
             suffixes=('.png', '.png'), classes: int = 3, size=(6, 8)) -> Path:
        rng = np.random.default_rng(0)
        for name in names:
            for folder, suffix, array in (
                    (img_dir, suffixes[0], rng.integers(0, 256, (*size, 3), np.uint8)),
                    (ann_dir, suffixes[1], rng.integers(0, classes, size, np.uint8))):
                path = tmp_path / folder / (name + suffix)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(cv2.imencode(path.suffix, array)[1].tobytes())
        return tmp_path
    return make
