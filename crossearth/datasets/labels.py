# SPDX-License-Identifier: Apache-2.0
"""Label files -> train ids: the one place that decides which stored values a data set accepts.

The check at build and the training pipeline share it, so what passes the first cannot fail in the
second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from crossearth.errors import ConfigError, DataError

__all__ = ['IGNORE_INDEX', 'UNKNOWN_LABEL', 'LabelRule', 'StoredLabel', 'colour_codes',
           'read_colours', 'read_label', 'read_stored']

IGNORE_INDEX = 255
UNKNOWN_LABEL = ('error', 'ignore')


def read_label(path: str | Path) -> np.ndarray:
    """Read the class ids that a label file stores.

    Pillow rather than OpenCV: it keeps the indices of a palette PNG and the range of 16-bit files.

    Args:
        path: Label file with one channel, or with equal colour channels.

    Returns:
        (H, W) integers, not yet train ids.

    Raises:
        DataError: The file cannot be decoded, or holds colours or fractions instead of class ids.
    """
    ids = _ids(_decode(path), path)
    if ids is None:
        raise DataError(f'The label {path} has three unequal channels: it looks like a colour '
                        'mask. Read it by FolderDataset with metainfo.palette, or convert the '
                        'colours to one channel of class ids.')
    return ids


def read_colours(path: str | Path) -> np.ndarray:
    """Read the colours of a label file; a palette PNG gives those of its palette.

    Args:
        path: Label file with 8 bits per channel.

    Returns:
        (H, W) int32, red * 65536 + green * 256 + blue; see `colour_codes`.

    Raises:
        DataError: The file cannot be decoded, or has more than 8 bits per channel.
    """
    return _colours(_decode(path), path)


def colour_codes(colours: Sequence[Sequence[int]] | np.ndarray) -> np.ndarray:
    """One int32 for each colour [r, g, b] along the last axis, as `read_colours` gives it."""
    codes: np.ndarray = np.asarray(colours, np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    return codes


@dataclass(frozen=True)
class StoredLabel:
    """What one label file stores, without its pixels.

    Args:
        path: The file.
        ids: Pixels of every stored id; None where only colours are stored.
        colours: Pixels of every colour code; None where the file is a plain grey image.
    """

    path: Path
    ids: Mapping[int, int] | None
    colours: Mapping[int, int] | None = None


def read_stored(path: Path) -> StoredLabel:
    """Count the ids of a label file and, where it has any, its colours.

    Raises:
        DataError: The file cannot be decoded, or holds fractions.
    """
    image = _decode(path)
    ids = _ids(image, path)
    coloured = ids is None or image.mode == 'P'
    return StoredLabel(path, None if ids is None else _count(ids),
                       _count(_colours(image, path)) if coloured else None)


def _decode(path: str | Path) -> Image.Image:
    try:
        with Image.open(path) as file:
            file.load()
            return file
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f'Cannot read the label {path}: {error}. Restore the file or remove it '
                        'together with its image.') from error


def _ids(image: Image.Image, path: str | Path) -> np.ndarray | None:
    """Ids (H, W), or None where the channels differ."""
    stored = np.asarray(image)
    if stored.ndim == 3:
        # the second band of 'LA' and the fourth of 'RGBA' are opacity, not a label
        stored = stored[..., :1 if image.mode == 'LA' else 3]
        if (stored != stored[..., :1]).any():
            return None
        stored = stored[..., 0]
    if stored.dtype == np.bool_:
        stored = stored.astype(np.uint8)
    if not np.issubdtype(stored.dtype, np.integer):
        raise DataError(f'The label {path} holds {stored.dtype} values. Save class ids as 8-bit '
                        'integers.')
    return stored


def _colours(image: Image.Image, path: str | Path) -> np.ndarray:
    if image.mode not in ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA'):
        raise DataError(f'The label {path} has the pixel format {image.mode}, which holds no '
                        'colours of 8 bits per channel. Save it as an RGB PNG, or as class ids.')
    return colour_codes(np.asarray(image.convert('RGB')))


def _count(values: np.ndarray) -> dict[int, int]:
    """Pixels of every value."""
    if values.dtype == np.uint8 and values.ndim == 2:
        # row by row: twenty times faster than np.unique, and no wide copy of a large label
        counts = np.zeros(256, np.int64)
        for row in values:
            counts += np.bincount(row, minlength=256)
        return {value: pixels for value, pixels in enumerate(counts.tolist()) if pixels}
    found, pixels = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), pixels.tolist(), strict=True))


@dataclass(frozen=True)
class LabelRule:
    """How stored values become train ids: colours, threshold or shift, then map, then check.

    Args:
        num_classes: C; train ids are 0 to C - 1, and 255 is ignored.
        reduce_zero_label: Stored 0 is ignored and every other id moves down by one.
        label_map: Id after the shift -> train id (or 255); ids it does not name stay.
        unknown_label: What to do with a value that is no train id: `error` or `ignore` (-> 255).
        threshold: Of masks: values from here up are class 1, the others class 0.
        colours: Of colour labels: [r, g, b] of every id.

    Raises:
        ConfigError: `unknown_label` is another word, or the map leads to an id that no class has.
    """

    num_classes: int
    reduce_zero_label: bool = False
    label_map: Mapping[int, int] | None = None
    unknown_label: str = 'error'
    threshold: int | None = None
    colours: Sequence[Sequence[int]] | None = None

    def __post_init__(self) -> None:
        if self.unknown_label not in UNKNOWN_LABEL:
            raise ConfigError(f"unknown_label must be 'error' or 'ignore', not "
                              f"'{self.unknown_label}'.")
        wrong = {k: v for k, v in (self.label_map or {}).items()
                 if not (0 <= k <= 255 and (0 <= v < self.num_classes or v == IGNORE_INDEX))}
        if wrong:
            raise ConfigError(f'label_map holds {wrong}, but stored ids are 0 to 255 and train ids '
                              f'0 to {self.num_classes - 1} (or 255 = ignored). Mend these entries '
                              'or the list of classes.')

    @property
    def table(self) -> np.ndarray:
        """(256,) uint8: the id of every 8-bit value, before unknown ids are judged."""
        table = np.arange(256, dtype=np.uint8)
        if self.threshold is not None:
            table = (table >= self.threshold).astype(np.uint8)
        if self.reduce_zero_label:
            table[1:255] -= 1
            table[0] = IGNORE_INDEX
        shifted = table.copy()
        for old, new in (self.label_map or {}).items():
            table[shifted == old] = new
        return table

    def read(self, path: str | Path) -> np.ndarray:
        """Read a label file as train ids.

        Returns:
            (H, W) uint8, each in [0, C) or 255.

        Raises:
            DataError: See `read_label`, `read_colours` and `train_ids`.
        """
        return self.train_ids(read_label(path) if self.colours is None else read_colours(path),
                              path)

    def train_ids(self, stored: np.ndarray, path: str | Path) -> np.ndarray:
        """Turn stored values into train ids.

        Args:
            stored: Integers of any width and shape: ids, or colour codes where the rule has
                `colours`.
            path: The file, for the message.

        Returns:
            uint8 of the same shape, each in [0, C) or 255.

        Raises:
            DataError: A value is no class and `unknown_label` is `error`.
        """
        ids, unknown = self._convert(stored)
        if unknown.any():
            if self.unknown_label == 'error':
                raise DataError(self._complaint(_count(stored[unknown]), path))
            ids[unknown] = IGNORE_INDEX
        return ids

    def check(self, label: StoredLabel) -> None:
        """Check what a file stores, as `read` would.

        Raises:
            DataError: The file cannot be read by this rule.
        """
        counts = label.ids if self.colours is None else label.colours or _grey(label.ids or {})
        if counts is None:
            read_label(label.path)  # says what is wrong with a colour mask
            return
        _, unknown = self._convert(np.fromiter(counts, np.int64, len(counts)))
        if unknown.any() and self.unknown_label == 'error':
            wrong = {value: counts[value]
                     for value, bad in zip(counts, unknown, strict=True) if bad}
            raise DataError(self._complaint(wrong, label.path))

    def _convert(self, stored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids, and where they are no class."""
        if self.colours is not None:
            indices = np.full(stored.shape, 256, np.int16)
            for index, code in enumerate(colour_codes(self.colours)):
                indices[stored == code] = index
            stored = indices
        # wider values are judged before the cast: uint8(256) would silently become class 0
        wide = np.zeros(1, bool) if stored.dtype == np.uint8 else (stored < 0) | (stored > 255)
        if wide.any():
            stored = np.where(wide, IGNORE_INDEX, stored)
        row = stored.astype(np.uint8, copy=False).reshape(1, -1)
        # not self.table[row]: NumPy widens every index to 64 bits, which takes six times as long
        ids: np.ndarray = cv2.LUT(row, self.table).reshape(stored.shape)
        return ids, wide | ((ids >= self.num_classes) & (ids != IGNORE_INDEX))

    def _complaint(self, wrong: Mapping[int, int], path: str | Path) -> str:
        names = [str(value) if self.colours is None else
                 f'({value >> 16}, {value >> 8 & 255}, {value & 255})' for value in [*wrong][:5]]
        listed = ', '.join(f'{name} ({pixels} px)'
                           for name, pixels in zip(names, wrong.values(), strict=False))
        more = f' and {len(wrong) - 5} more values' if len(wrong) > 5 else ''
        if self.colours is not None:
            return (f'The label {path} holds the colours {listed}{more}, which none of the '
                    f'{self.num_classes} classes has. Correct the file or metainfo.palette, or set '
                    "unknown_label='ignore' to exclude such pixels.")
        first = int(self.reduce_zero_label)
        shift = (' set reduce_zero_label=True if 0 means ignored,'
                 if set(wrong) == {self.num_classes} and not self.reduce_zero_label else '')
        return (f'The label {path} holds {listed}{more}, but the {self.num_classes} classes are '
                f'stored as {first} to {first + self.num_classes - 1} (255 = ignored). Correct the '
                f'file or the list of classes,{shift} give label_map={{stored id: train id}}, or '
                "set unknown_label='ignore' to exclude such pixels.")


def _grey(ids: Mapping[int, int]) -> dict[int, int]:
    """Colour codes of a file without colours."""
    return {value * 0x010101: pixels for value, pixels in ids.items()}
