# SPDX-License-Identifier: Apache-2.0
"""Label files -> train ids: the one place that decides which stored values a data set accepts.

The check at build and the training pipeline share it, so what passes the first cannot fail in the
second.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from crossearth.errors import ConfigError, DataError

__all__ = ['IGNORE_INDEX', 'UNKNOWN_LABEL', 'LabelRule', 'read_label']

IGNORE_INDEX = 255
UNKNOWN_LABEL = ('error', 'ignore')


def read_label(path: str | Path) -> np.ndarray:
    """Read the values that a label file stores.

    Pillow rather than OpenCV: it keeps the indices of a palette PNG and the range of 16-bit files.

    Args:
        path: Label file with one channel, or with equal colour channels.

    Returns:
        (H, W) integers, not yet train ids.

    Raises:
        DataError: The file cannot be decoded, or holds colours or fractions instead of class ids.
    """
    try:
        with Image.open(path) as file:
            # the second band of 'LA' and the fourth of 'RGBA' are opacity, not a label
            bands = 1 if file.mode == 'LA' else 3
            stored = np.asarray(file)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f'Cannot read the label {path}: {error}. Restore the file or remove it '
                        'together with its image.') from error
    if stored.ndim == 3:
        stored = stored[..., :bands]
        if (stored != stored[..., :1]).any():
            raise DataError(f'The label {path} has {stored.shape[2]} unequal channels: it looks '
                            'like a colour mask. Convert colours to one channel of class ids.')
        stored = stored[..., 0]
    if stored.dtype == np.bool_:
        stored = stored.astype(np.uint8)
    if not np.issubdtype(stored.dtype, np.integer):
        raise DataError(f'The label {path} holds {stored.dtype} values. Save class ids as 8-bit '
                        'integers.')
    return stored


@dataclass(frozen=True)
class LabelRule:
    """How stored values become train ids: shift, then map, then check.

    Args:
        num_classes: C; train ids are 0 to C - 1, and 255 is ignored.
        reduce_zero_label: Stored 0 is ignored and every other id moves down by one.
        label_map: Id after the shift -> train id (or 255); ids it does not name stay.
        unknown_label: What to do with a value that is no train id: `error` or `ignore` (-> 255).

    Raises:
        ConfigError: `unknown_label` is another word, or the map leads to an id that no class has.
    """

    num_classes: int
    reduce_zero_label: bool = False
    label_map: Mapping[int, int] | None = None
    unknown_label: str = 'error'

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
        if self.reduce_zero_label:
            table[1:255] -= 1
            table[0] = IGNORE_INDEX
        shifted = table.copy()
        for old, new in (self.label_map or {}).items():
            table[shifted == old] = new
        return table

    def train_ids(self, stored: np.ndarray, path: str | Path) -> np.ndarray:
        """Turn stored values into train ids.

        Args:
            stored: (H, W) integers of any width.
            path: The file, for the message.

        Returns:
            (H, W) uint8, each in [0, C) or 255.

        Raises:
            DataError: A value is no class and `unknown_label` is `error`.
        """
        # wider values are judged before the cast: uint8(256) would silently become class 0
        wide = np.zeros(1, bool) if stored.dtype == np.uint8 else (stored < 0) | (stored > 255)
        ids: np.ndarray = self.table[np.where(wide, IGNORE_INDEX, stored) if wide.any() else stored]
        unknown = wide | ((ids >= self.num_classes) & (ids != IGNORE_INDEX))
        if unknown.any():
            if self.unknown_label == 'error':
                raise DataError(self._complaint(stored[unknown], path))
            ids[unknown] = IGNORE_INDEX
        return ids

    def _complaint(self, values: np.ndarray, path: str | Path) -> str:
        found, pixels = np.unique(values, return_counts=True)
        listed = ', '.join(f'{v} ({n} px)' for v, n in zip(found[:5], pixels[:5], strict=True))
        more = f' and {len(found) - 5} more values' if len(found) > 5 else ''
        first = int(self.reduce_zero_label)
        return (f'The label {path} holds {listed}{more}, but the {self.num_classes} classes are '
                f'stored as {first} to {first + self.num_classes - 1} (255 = ignored). Correct the '
                'file or the list of classes, give label_map={stored id: train id}, or set '
                "unknown_label='ignore' to exclude such pixels.")
