# SPDX-License-Identifier: Apache-2.0
"""Bytes of an image file -> pixels, and stored label values -> train ids (255 = ignored)."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from crossearth.datasets.labels import IGNORE_INDEX
from crossearth.errors import DataError

__all__ = [
    'ColourTable', 'Encoding', 'IdTable', 'Threshold', 'decode_image', 'decode_label', 'encode_png']

CHROMA_NOISE = 32  # between the channels of a grey JPEG that was saved in colour
ROWS = 256
STORED = (cv2.IMWRITE_PNG_COMPRESSION, 0,
          *((cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE)
            if hasattr(cv2, 'IMWRITE_PNG_FILTER') else ()))  # OpenCV >= 4.12
Colour = tuple[int, int, int]


def decode_image(data: bytes, where: str) -> np.ndarray:
    """Decode an image.

    Args:
        data: Content of the file.
        where: Its name, for messages.

    Returns:
        (H, W, 3) uint8, red first.

    Raises:
        DataError: It cannot be decoded, or has not three 8-bit bands.
    """
    mode, array = _decode(data, where)
    if mode not in ('RGB', 'RGBA'):
        raise DataError(f'The image {where} has the pixel type {mode!r} instead of three 8-bit '
                        'bands. Use the files of the official download unchanged.')
    return array[..., :3]


def decode_label(data: bytes, where: str) -> np.ndarray:
    """Decode a label.

    Returns:
        (H, W) uint8 ids (those of a palette file are its indices; one bit becomes 0 and 255), or
        (H, W, 3) uint8 colours.

    Raises:
        DataError: It cannot be decoded, or its values are not 8-bit.
    """
    mode, array = _decode(data, where)
    if mode not in ('1', 'L', 'LA', 'P', 'RGB', 'RGBA'):
        raise DataError(f'The label {where} has the pixel type {mode!r}; labels of 8 bits are '
                        'expected. Use the files of the official download unchanged.')
    if mode == '1':
        return array.astype(np.uint8) * np.uint8(255)
    return array[..., 0] if mode == 'LA' else array[..., :3] if array.ndim == 3 else array


def encode_png(array: np.ndarray, *, uncompressed: bool = False) -> bytes:
    """Encode (H, W) ids or (H, W, 3) colours, red first, as a PNG file.

    Args:
        array: uint8 pixels.
        uncompressed: Store the pixels as they are: the file is larger, and read several times as
            fast.
    """
    bgr = array[..., ::-1] if array.ndim == 3 else array
    how = STORED if uncompressed else ()
    return cv2.imencode('.png', np.ascontiguousarray(bgr), how)[1].tobytes()


@dataclass(frozen=True)
class ColourTable:
    """Labels that are painted.

    Args:
        ids: Red, green, blue -> train id, or 255.
    """

    ids: Mapping[Colour, int]

    def train_ids(self, stored: np.ndarray, where: str) -> tuple[np.ndarray, int]:
        """Turn (H, W, 3) colours into (H, W) ids; also the number of pixels of other colours."""
        if stored.ndim == 2:
            raise DataError(f'The label {where} has one channel, but colours are expected. Use '
                            'the files of the official download unchanged.')
        ids = np.full(stored.shape[:2], IGNORE_INDEX, np.uint8)
        known = 0
        for top in range(0, len(stored), ROWS):  # wide copies of a whole label would be large
            packed, block = _pack(stored[top:top + ROWS]), ids[top:top + ROWS]
            for colour, train_id in self.ids.items():
                same = packed == _pack(np.array(colour, np.uint8))
                block[same] = train_id
                known += int(np.count_nonzero(same))
        return ids, ids.size - known


@dataclass(frozen=True)
class IdTable:
    """Labels that hold ids.

    Args:
        ids: Stored id -> train id, or 255.
        refused: Stored ids that tell that the label is of another kind.
        meaning: What it is then, and what to do.
    """

    ids: Mapping[int, int]
    refused: Sequence[int] = ()
    meaning: str = ''

    def train_ids(self, stored: np.ndarray, where: str) -> tuple[np.ndarray, int]:
        """Turn (H, W) ids into train ids; also the number of pixels with an unknown id."""
        if stored.ndim == 3:
            raise DataError(f'The label {where} has {stored.shape[2]} channels, but one of class '
                            'ids is expected. It may be a picture of the label: use the id files '
                            'of the official download.')
        table, known = np.full(256, IGNORE_INDEX, np.uint8), np.zeros(256, bool)
        for old, new in self.ids.items():
            table[old], known[old] = new, True
        pixels = np.sum([np.bincount(row, minlength=256) for row in stored], axis=0)
        for old in self.refused:
            if pixels[old]:
                raise DataError(f'The label {where} holds the id {old}: {self.meaning}')
        return table[stored], int(pixels[~known].sum())


@dataclass(frozen=True)
class Threshold:
    """Two classes as dark and bright, with the noise that a JPEG leaves.

    Args:
        at: The smallest value of the foreground.
    """

    at: int = 128

    def train_ids(self, stored: np.ndarray, where: str) -> tuple[np.ndarray, int]:
        """Turn (H, W) or grey (H, W, 3) values into ids 0 and 1; nothing is off the palette."""
        if stored.ndim == 3:
            spread = stored.max(axis=2) - stored.min(axis=2)
            if spread.max(initial=0) > CHROMA_NOISE:
                raise DataError(f'The label {where} is coloured, but black and white is expected. '
                                'Use the files of the official download unchanged.')
            stored = stored[..., 1]
        if stored.max(initial=0) == 1:
            raise DataError(f'The label {where} holds 0 and 1, but others of its folder 0 and 255. '
                            'Use the files of one download only.')
        return (stored >= self.at).astype(np.uint8), 0


Encoding = ColourTable | IdTable | Threshold


def _pack(colours: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 -> one number for each colour."""
    wide = colours.astype(np.uint32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _decode(data: bytes, where: str) -> tuple[str, np.ndarray]:
    try:
        with Image.open(io.BytesIO(data)) as file:
            return file.mode, np.asarray(file)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f'Cannot decode {where}: {error}. The file is damaged or its download was '
                        'cut short: download it again.') from error
