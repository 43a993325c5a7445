# SPDX-License-Identifier: Apache-2.0
"""What the files of a data set hold, remembered from one start to the next.

Every start checks all images and labels. Reading them takes seconds to minutes; seeing that they
have not changed takes microseconds each. Only facts are remembered, never a verdict: the rule of
the labels is applied anew each time, so a change of the config counts at once.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crossearth.datasets.labels import StoredLabel
from crossearth.weight_files import cache_folder, write_atomically

__all__ = ['FileIndex']

VERSION = 1  # of the form of the file: another one is not read
# A file can change twice within one tick of its clock (2 s on FAT) and show the same time.
SETTLED_NS = 2_000_000_000
MAX_VALUES = 256  # a label with more values has no classes, and would fill the index

Pixels = Mapping[int, int] | None


@dataclass(frozen=True)
class _Facts:
    """What is known of a file.

    Args:
        stamp: Its bytes and its time of change in ns.
        size: Width and height in px; None if unknown.
        pixels: Those of every id and of every colour, as in `StoredLabel`; None if unknown.
    """

    stamp: tuple[int, int]
    size: tuple[int, int] | None = None
    pixels: tuple[Pixels, Pixels] | None = None


class FileIndex:
    """Sizes and stored values of the files of a data set.

    A file whose bytes or time of change are others than before is read again. The index lies in the
    cache folder; where it is damaged it is made anew, and where it cannot be written, every start
    reads all files.

    Args:
        root: Folder of the data set; each has its own index.
    """

    def __init__(self, root: Path) -> None:
        self._path = _place(root)
        self._files = _load(self._path) if self._path else {}
        self._changed = False

    def size(self, path: Path, read: Callable[[Path], tuple[int, int]]) -> tuple[int, int]:
        """Give width and height of a file in px, by `read` where they are not known."""
        known = self._known(path)
        if known.size is not None:
            return known.size
        size = read(path)
        self._remember(path, replace(known, size=size))
        return size

    def label(self, path: Path, read: Callable[[Path], StoredLabel]) -> StoredLabel:
        """Give what a label file stores, by `read` where it is not known."""
        known = self._known(path)
        if known.pixels is not None:
            return StoredLabel(path, *known.pixels)
        label = read(path)
        if max(len(label.ids or ()), len(label.colours or ())) <= MAX_VALUES:
            self._remember(path, replace(known, pixels=(label.ids, label.colours)))
        return label

    def save(self) -> None:
        """Write what is new; files that are gone are forgotten."""
        if self._path is None or not self._changed:
            return
        files = {name: [facts.stamp, facts.size, facts.pixels]
                 for name, facts in self._files.items() if Path(name).exists()}
        content = json.dumps({'version': VERSION, 'files': files}).encode()
        with contextlib.suppress(OSError):  # read-only or full: the next start is slower, no more
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, content)

    def _known(self, path: Path) -> _Facts:
        """What is known of a file as it is now."""
        try:
            state = path.stat()
        except OSError:  # whoever reads it says what is wrong; this time is never remembered
            return _Facts((0, time.time_ns()))
        stamp = (state.st_size, state.st_mtime_ns)
        facts = self._files.get(str(path.absolute()))
        return facts if facts and facts.stamp == stamp else _Facts(stamp)

    def _remember(self, path: Path, facts: _Facts) -> None:
        # The stamp was taken before the file was read: what is written in between shows next time.
        if time.time_ns() - facts.stamp[1] > SETTLED_NS:
            self._files[str(path.absolute())] = facts
            self._changed = True


def _place(root: Path) -> Path | None:
    """The file of the index; None for a user without a home, as in some containers."""
    try:
        folder = cache_folder()
    except RuntimeError:
        return None
    name = hashlib.sha256(str(root.absolute()).encode()).hexdigest()[:32]
    return folder / 'index' / f'{name}.json'


def _load(path: Path) -> dict[str, _Facts]:
    """Facts by absolute path; none if the file is missing, damaged or of another version."""
    try:
        content = json.loads(path.read_bytes())
        if content['version'] != VERSION:
            return {}
        return {name: _Facts(_pair(stamp), size and _pair(size), pixels and _pixels(*pixels))
                for name, (stamp, size, pixels) in content['files'].items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return {}


def _pair(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return int(first), int(second)


def _pixels(*both: Mapping[str, int] | None) -> tuple[Pixels, Pixels]:
    """Pixels by value: names in JSON are strings."""
    ids, colours = (None if found is None else {int(value): int(count)
                                                for value, count in found.items()}
                    for found in both)
    return ids, colours
