# SPDX-License-Identifier: Apache-2.0
"""Files -> arrays: image and label of a sample, with errors that carry the path."""

from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from crossearth.datasets.labels import LabelRule
from crossearth.errors import DataError
from crossearth.registry import TRANSFORMS

__all__ = ['LoadImage', 'LoadLabel', 'read_image']


def read_image(path: str | Path) -> np.ndarray:
    """Read an 8-bit image with one, three or four channels; transparency is dropped.

    The orientation flag of camera files is not applied: the label was drawn on the stored grid.

    Args:
        path: Image file; any characters are allowed in its name.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        DataError: The file is missing, damaged, or not 8-bit.
    """
    try:
        # not cv2.imread: on Windows it fails for names outside the code page
        encoded = np.frombuffer(Path(path).read_bytes(), np.uint8)
    except OSError as error:
        raise DataError(f'Cannot read the image {path}: {error.strerror}. Restore the file, or '
                        'remove it together with its label.') from error
    image = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
    if image is None:
        raise DataError(f'Cannot decode the image {path} ({encoded.size} bytes). Restore the file, '
                        'or remove it together with its label.')
    if image.dtype != np.uint8:
        raise DataError(f'The image {path} holds {image.dtype} values, but 8-bit is expected: a '
                        'cast would hide most of its contrast. Scale it, for example with '
                        '`gdal_translate -ot Byte -scale`.')
    bgr: np.ndarray = image[..., None].repeat(3, 2) if image.ndim == 2 else image[..., :3]
    return np.ascontiguousarray(bgr)


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Load the image of a sample.

    Required keys: `img_path`. Added keys: `img` (H, W, 3) uint8 BGR, `img_shape` and `ori_shape`
    (H, W).

    Raises:
        DataError: See `read_image`.
    """

    def transform(self, results: dict) -> dict:
        """Add the image to the sample."""
        image = read_image(results['img_path'])
        shape = image.shape[:2]
        return results | {'img': image, 'img_shape': shape, 'ori_shape': shape}


@TRANSFORMS.register_module()
class LoadLabel(BaseTransform):
    """Load the label of a sample of `DomainSegDataset` as train ids.

    It stands before every transform of the geometry, so that they change the label alike. Only a
    test pipeline may put it after a resize: predictions are then brought to the label's size.

    Required keys: `seg_map_path`, the fields of `LabelRule`, `seg_fields`, and `ori_shape` where
    the image is loaded. Added key: `gt_seg_map` (H, W) uint8, each value in [0, C) or 255.

    Raises:
        DataError: The label is damaged, has another size than the image, or holds a value that no
            class has.
    """

    def transform(self, results: dict) -> dict:
        """Add the label to the sample."""
        path = results['seg_map_path']
        rule = LabelRule(**{field.name: results[field.name] for field in fields(LabelRule)})
        label = rule.read(path)
        expected = results.get('ori_shape', label.shape)
        if label.shape != tuple(expected):
            raise DataError(f'The label {path} is {label.shape[0]} x {label.shape[1]} px, but its '
                            f'image is {expected[0]} x {expected[1]} px (height x width). Export '
                            'the label on the grid of the image.')
        return results | {
            'gt_seg_map': label, 'seg_fields': [*results['seg_fields'], 'gt_seg_map']}
