# SPDX-License-Identifier: Apache-2.0
"""Folders of any images -> a reproducible stream of small RGB images."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from crossearth.errors import DataError, MissingDependencyError
from crossearth.transforms.loading import read_image

__all__ = ['evenly', 'image_files', 'read_small', 'survey']

GEOTIFF = ('.tif', '.tiff')
SUFFIXES = frozenset({*GEOTIFF, '.png', '.jpg', '.jpeg', '.bmp', '.webp', '.jp2'})
SIDE = 256  # px; at this size the embeddings of the published statistics were made


def image_files(roots: Iterable[str | Path]) -> Iterator[Path]:
    """Walk through folders, in the order of names; no more than one folder is held in memory.

    Args:
        roots: Folders and files.

    Raises:
        DataError: A root does not exist.
    """
    for root in map(Path, roots):
        if not root.exists():
            raise DataError(f'there is no folder or image {root}. Correct the path.')
        if root.is_file():
            yield root
        for folder, subfolders, names in os.walk(root):
            subfolders.sort()
            paths = (Path(folder, name) for name in sorted(names))
            yield from (path for path in paths if path.suffix.lower() in SUFFIXES)


def survey(roots: Sequence[str | Path]) -> tuple[int, str]:
    """Count the images, and hash their paths: equal hashes mean the same stream.

    Raises:
        DataError: There is no image, or a root does not exist.
    """
    digest, total = hashlib.sha256(), 0
    for path in image_files(roots):
        digest.update(f'{path}\n'.encode('utf-8', 'surrogateescape'))
        total += 1
    if not total:
        raise DataError(f'no images in {", ".join(map(str, roots))}: looked for '
                        f'{", ".join(sorted(SUFFIXES))}. Correct the path.')
    return total, digest.hexdigest()


def evenly(paths: Iterable[Path], total: int, number: int) -> Iterator[Path]:
    """Choose `number` of `total` paths, evenly spread over the stream."""
    for index, path in enumerate(paths):
        if index * number // total != (index + 1) * number // total:
            yield path


def read_small(path: Path) -> np.ndarray:
    """Read an 8-bit image and resize it to a square.

    Args:
        path: An image, or a GeoTIFF: its first three bands, or a single one three times. Large
            scenes are shrunk as a whole; cut them into tiles first to see their texture.

    Returns:
        (SIDE, SIDE, 3) uint8, RGB.

    Raises:
        DataError: The file is damaged or not 8-bit.
        MissingDependencyError: It is a GeoTIFF, and rasterio is not installed.
    """
    if path.suffix.lower() in GEOTIFF:
        return _read_geotiff(path)
    try:
        image = read_image(path)
    except cv2.error as error:  # for example too many pixels
        raise DataError(f'OpenCV cannot read {path}: {error.err}.') from error
    method = cv2.INTER_AREA if min(image.shape[:2]) > SIDE else cv2.INTER_LINEAR
    return cv2.resize(image, (SIDE, SIDE), interpolation=method)[..., ::-1]


def _read_geotiff(path: Path) -> np.ndarray:
    try:
        import rasterio
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"{path} is a GeoTIFF, and rasterio is not installed. Run: pip install "
            "'crossearth[geo]', or pip install rasterio.") from error
    from rasterio.enums import Resampling

    try:
        with rasterio.open(path) as scene:
            if set(scene.dtypes) != {'uint8'}:
                raise DataError(f'{path} holds {scene.dtypes[0]} values, 8-bit is expected.')
            method = Resampling.average if min(scene.shape) > SIDE else Resampling.bilinear
            bands = scene.read((1, 2, 3) if scene.count >= 3 else (1, 1, 1),
                               out_shape=(3, SIDE, SIDE), resampling=method)
    except rasterio.errors.RasterioError as error:
        cause = error.__cause__ or error  # the outer message often says only "see previous"
        raise DataError(f'rasterio cannot read {path}: {cause}.') from error
    return bands.transpose(1, 2, 0)
