# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with folders of images and labels, found in seconds before any training.

Every check raises `DataError` with the directory, what was looked for, what *is* there and the
remedy. Names and sizes (from file headers) are checked for every pair; label values for all files
of a small set and for an evenly spaced sample of a large one. What was read before and has not
changed since is taken from the index.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from PIL import Image

from crossearth.datasets.index import FileIndex
from crossearth.datasets.labels import LabelRule, StoredLabel, read_stored
from crossearth.errors import DataError, suggest

__all__ = ['IMAGE_SUFFIXES', 'MAX_LABELS_READ', 'check_labels', 'check_sizes', 'contents_of',
           'find_pairs', 'list_names', 'read_labels']

MAX_LABELS_READ = 2000
IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.tif', '.tiff')
THREADS = 8  # the work is decompression and file latency, which both release the interpreter

Pair = tuple[Path, Path]
T = TypeVar('T')
R = TypeVar('R')


def find_pairs(img_dir: Path, ann_dir: Path, img_suffix: str | None,
               seg_map_suffix: str | None) -> list[Pair]:
    """Pair every image with its label by the name before the suffix, in sorted order.

    Args:
        img_dir: Folder of images; sub-folders are searched too.
        ann_dir: Folder of labels with the same sub-folders.
        img_suffix: Ending of image names, such as `.png`; None for any of `IMAGE_SUFFIXES`.
        seg_map_suffix: Ending of label names, such as `-label.png`, or None likewise.

    Raises:
        DataError: A folder is missing, no image has the suffix, an image has no label, or two
            files of a folder differ in their suffix only.
    """
    for folder in (img_dir, ann_dir):
        if not folder.is_dir():
            raise DataError(f'The folder {folder} does not exist; {_nearest(folder)} Correct '
                            'data_root, domains, split, or the templates img_dir and ann_dir.')
    images, labels = list_names(img_dir, img_suffix), list_names(ann_dir, seg_map_suffix)
    if not images:
        raise DataError(f'No image in {img_dir} ends in {_ending(img_suffix)}; the folder '
                        f'{contents_of(img_dir)}. Set img_suffix, or correct img_dir.')
    lonely = [name for stem, name in images.items() if stem not in labels]
    if lonely:
        raise DataError(f'{len(lonely)} of {len(images)} images in {img_dir} have no label '
                        f'NAME{seg_map_suffix or ".png"} in {ann_dir}: {_first(lonely)}. The label '
                        f'folder {contents_of(ann_dir)}. Add the labels, set seg_map_suffix, or '
                        'remove these images.')
    return [(img_dir / name, ann_dir / labels[stem]) for stem, name in images.items()]


def check_sizes(pairs: Sequence[Pair], index: FileIndex) -> None:
    """Compare width and height of images and labels, from the file headers.

    Args:
        pairs: Images with their labels.
        index: Sizes that are known already; those that are read are added.

    Raises:
        DataError: A header cannot be read, or a label has another size than its image.
    """
    _for_all(lambda pair: _check_size(pair, index), pairs, 'pairs')


def read_labels(paths: Sequence[Path], index: FileIndex) -> list[StoredLabel]:
    """Read what labels store: all of them, or `MAX_LABELS_READ` evenly spaced ones.

    Args:
        paths: Label files.
        index: Labels that are known already; those that are read are added.

    Raises:
        DataError: A label cannot be decoded.
    """
    count = min(len(paths), MAX_LABELS_READ)
    return _for_all(lambda path: index.label(path, read_stored),
                    [paths[i * len(paths) // count] for i in range(count)], 'labels read')


def check_labels(labels: Sequence[StoredLabel], rule: LabelRule) -> None:
    """Check that a rule turns all that labels store into train ids.

    Raises:
        DataError: A label holds a value that no class has.
    """
    _for_all(rule.check, labels, 'labels read')


def _for_all(function: Callable[[T], R], items: Sequence[T], noun: str) -> list[R]:
    """Call `function` on all items, and raise the first complaint with the number of the others."""
    def attempt(item: T) -> R | DataError:
        try:
            return function(item)
        except DataError as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(attempt, items))
    errors = [result for result in results if isinstance(result, DataError)]
    if errors:
        more = f' ({len(errors)} of {len(items)} {noun} have such a fault.)'
        raise DataError(f'{errors[0]}{more if len(errors) > 1 else ""}') from errors[0]
    return [result for result in results if not isinstance(result, DataError)]


def _check_size(pair: Pair, index: FileIndex) -> None:
    image, label = (index.size(path, _header_size) for path in pair)
    if image != label:
        raise DataError(f'The label {pair[1]} is {label[0]} x {label[1]} px, but its image '
                        f'{pair[0]} is {image[0]} x {image[1]} px (width x height). Export the '
                        'label on the grid of the image.')


def _header_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as file:
            return int(file.width), int(file.height)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f'Cannot read the header of {path}: {error}. Restore the file, or remove '
                        'it with its partner.') from error


def list_names(folder: Path, suffix: str | None) -> dict[str, str]:
    """Files below a folder in sorted order: name before the suffix -> name.

    Args:
        folder: Folder to search with its sub-folders; `/` stands between parts of a name.
        suffix: Ending of the names; None for any of `IMAGE_SUFFIXES`, small or capital.

    Raises:
        DataError: Two names differ in their suffix only.
    """
    found: dict[str, str] = {}
    for parent, _, files in os.walk(folder, followlinks=True):
        below = Path(parent).relative_to(folder)
        for name in files:
            ending = suffix if suffix is not None else Path(name).suffix
            known = name.endswith(ending) and (
                suffix is not None or ending.lower() in IMAGE_SUFFIXES)
            # hidden files are left-overs of file managers ('._tile.png' on macOS), never samples
            if known and not name.startswith('.'):
                path = (below / name).as_posix()
                stem = path[:len(path) - len(ending)]
                if stem in found:
                    raise DataError(f'The folder {folder} holds both {found[stem]} and {path}. '
                                    'Set img_suffix and seg_map_suffix to the kind that counts.')
                found[stem] = path
    return dict(sorted(found.items()))


def contents_of(folder: Path) -> str:
    """What a folder holds, for a message: counts by suffix, and the first folders."""
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith('.')]
    folders = [entry.name for entry in entries if entry.is_dir()]
    suffixes = Counter(entry.suffix or 'without suffix' for entry in entries if entry.is_file())
    parts = [f'{count} {suffix}' for suffix, count in suffixes.most_common(5)]
    if folders:
        parts.append(f'the folders {_first(folders)}')
    return f'holds {", ".join(parts)}' if parts else 'is empty'


def _nearest(path: Path) -> str:
    """The closest existing ancestor of a missing folder, and what it holds."""
    parent = next(parent for parent in path.parents if parent.is_dir())
    siblings = [entry.name for entry in parent.iterdir() if entry.is_dir()]
    missing = path.relative_to(parent).parts[0]
    return f'{parent} {contents_of(parent)}.{suggest(missing, siblings)}'


def _first(names: Sequence[str]) -> str:
    return ', '.join(names[:5]) + (', ...' if len(names) > 5 else '')


def _ending(suffix: str | None) -> str:
    return repr(suffix) if suffix is not None else ', '.join(IMAGE_SUFFIXES)
