# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with folders of images and labels, found in seconds before any training.

Every check raises `DataError` with the directory, what was looked for, what *is* there and the
remedy. Names and sizes (from file headers) are checked for every pair; label values for all files
of a small set and for an evenly spaced sample of a large one.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from crossearth.datasets.labels import LabelRule, read_label
from crossearth.errors import DataError, suggest

__all__ = ['MAX_LABELS_READ', 'check_labels', 'check_sizes', 'find_pairs']

MAX_LABELS_READ = 2000
THREADS = 8  # the work is decompression and file latency, which both release the interpreter

Pair = tuple[Path, Path]


def find_pairs(img_dir: Path, ann_dir: Path, img_suffix: str, seg_map_suffix: str) -> list[Pair]:
    """Pair every image with its label by the name before the suffix, in sorted order.

    Args:
        img_dir: Folder of images; sub-folders are searched too.
        ann_dir: Folder of labels with the same sub-folders.
        img_suffix: Ending of image names, such as `.png`.
        seg_map_suffix: Ending of label names, such as `-label.png`.

    Raises:
        DataError: A folder is missing, no image has the suffix, or an image has no label.
    """
    for folder in (img_dir, ann_dir):
        if not folder.is_dir():
            raise DataError(f'The folder {folder} does not exist; {_nearest(folder)} Correct '
                            'data_root, domains, split, or the templates img_dir and ann_dir.')
    images, labels = _names(img_dir, img_suffix), set(_names(ann_dir, seg_map_suffix))
    if not images:
        raise DataError(f'No image in {img_dir} ends in {img_suffix!r}; the folder '
                        f'{_contents(img_dir)}. Set img_suffix, or correct img_dir.')
    lonely = [stem + img_suffix for stem in images if stem not in labels]
    if lonely:
        raise DataError(f'{len(lonely)} of {len(images)} images in {img_dir} have no label '
                        f'NAME{seg_map_suffix} in {ann_dir}: {_first(lonely)}. The label folder '
                        f'{_contents(ann_dir)}. Add the labels, set seg_map_suffix, or remove '
                        'these images.')
    return [(img_dir / (stem + img_suffix), ann_dir / (stem + seg_map_suffix)) for stem in images]


def check_sizes(pairs: Sequence[Pair]) -> None:
    """Compare width and height of images and labels, from the file headers.

    Raises:
        DataError: A header cannot be read, or a label has another size than its image.
    """
    _check_all(_check_size, pairs, 'pairs')


def check_labels(paths: Sequence[Path], rule: LabelRule) -> None:
    """Decode labels and check their values: all of them, or `MAX_LABELS_READ` evenly spaced ones.

    Raises:
        DataError: A label cannot be decoded or holds a value that no class has.
    """
    count = min(len(paths), MAX_LABELS_READ)
    chosen = [paths[i * len(paths) // count] for i in range(count)]
    _check_all(lambda path: rule.train_ids(read_label(path), path), chosen, 'labels read')


def _check_all(check: Callable, items: Sequence, noun: str) -> None:
    """Run `check` on all items, and raise the first complaint with the number of the others."""
    def complaint(item: object) -> DataError | None:
        try:
            check(item)
        except DataError as error:
            return error
        return None

    with ThreadPoolExecutor(THREADS) as pool:
        errors = [error for error in pool.map(complaint, items) if error]
    if errors:
        more = f' ({len(errors)} of {len(items)} {noun} have such a fault.)'
        raise DataError(f'{errors[0]}{more if len(errors) > 1 else ""}') from errors[0]


def _check_size(pair: Pair) -> None:
    image, label = (_header_size(path) for path in pair)
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


def _names(folder: Path, suffix: str) -> list[str]:
    """Sorted names below `folder` that end in `suffix`, without it and with `/` between parts."""
    found = []
    for parent, _, files in os.walk(folder, followlinks=True):
        below = Path(parent).relative_to(folder)
        # hidden files are left-overs of file managers ('._tile.png' on macOS), never samples
        found += [(below / name).as_posix()[:-len(suffix)] for name in files
                  if name.endswith(suffix) and not name.startswith('.')]
    return sorted(found)


def _contents(folder: Path) -> str:
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
    return f'{parent} {_contents(parent)}.{suggest(missing, siblings)}'


def _first(names: Sequence[str]) -> str:
    return ', '.join(names[:5]) + (', ...' if len(names) > 5 else '')
