# SPDX-License-Identifier: Apache-2.0
"""Tiny data sets on disk."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger
from PIL import Image

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


@pytest.fixture
def write_pair(tmp_path: Path) -> Maker:
    """Write a label of one row, (W,) ids or (W, 3) colours, with an image; return the root."""
    def write(image: str, label: str, stored, dtype: type = np.uint8, mode: str | None = None,
              **options) -> Path:
        row = np.asarray(stored, dtype)[None]
        for name, picture in ((image, Image.new('RGB', (row.shape[1], 1))),
                              (label, Image.fromarray(row, mode))):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path, **(options if name == label else {}))
        return tmp_path
    return write


@pytest.fixture
def write_index() -> Callable[..., None]:
    """Write the index of the prepared layout."""
    def write(root: Path, classes, **entries) -> None:
        (root / 'index.json').write_text(json.dumps({
            'format': 'crossearth-prepared', 'version': 1, 'classes': classes, 'ids': 'train',
            **entries}))
    return write


@pytest.fixture
def log() -> Iterator[Callable[[], str]]:
    """What has been logged so far."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield lambda: '\n'.join(lines)
    logger.removeHandler(handler)
