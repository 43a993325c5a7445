# SPDX-License-Identifier: Apache-2.0
"""Where a data set keeps its files: the prepared layout, and others that are read directly."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from crossearth.datasets.checks import contents_of, list_names
from crossearth.datasets.ids import Ids, from_zero
from crossearth.errors import DataError

__all__ = ['INDEX', 'PREPARED', 'Layout', 'choose_layout', 'converted']

INDEX = 'index.json'
INDEX_FORMAT = 'crossearth-prepared'


@dataclass(frozen=True)
class Layout:
    """One arrangement of images and labels below a data root.

    Args:
        name: What a user writes into `layout=`.
        img_dir: Template of the image folder with `{split}` and `{domain}`; of several the first
            that exists.
        ann_dir: Template of the label folder, likewise.
        img_suffix: Ending of image names; None for the usual image files of any kind.
        seg_map_suffix: Ending of label names, likewise.
        folders: Domain -> what fills `{domain}`, where the names differ.
        splits: Split -> what fills `{split}`, where the names differ.
        ids: Ways in which its labels may store classes; empty: train ids, or masks if the classes
            are two.
    """

    name: str
    img_dir: str | tuple[str, ...] = '{split}/{domain}/images'
    ann_dir: str | tuple[str, ...] = '{split}/{domain}/labels'
    img_suffix: str | None = None
    seg_map_suffix: str | None = '.png'
    folders: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    ids: tuple[Ids, ...] = ()

    def locate(self, root: Path, split: str, domain: str) -> tuple[Path, Path]:
        """Image and label folder of a domain, whether they exist or not."""
        fields = {'split': self.splits.get(split, split),
                  'domain': self.folders.get(domain, domain)}

        def first(templates: str | tuple[str, ...]) -> Path:
            paths = [root / template.format(**fields) for template in _several(templates)]
            return next((path for path in paths if path.is_dir()), paths[0])
        return first(self.img_dir), first(self.ann_dir)

    def lies_in(self, root: Path, split: str, domains: Sequence[str]) -> bool:
        """Whether images and labels of any of the domains are there."""
        located = [self.locate(root, split, domain) for domain in domains]
        return any(images.is_dir() and labels.is_dir()
                   and bool(list_names(images, self.img_suffix))
                   and bool(list_names(labels, self.seg_map_suffix))
                   for images, labels in located)


PREPARED = Layout('prepared')
"""What `crossearth data prepare` writes: PNG labels of train ids and an `index.json`."""


def converted(ids: tuple[Ids, ...]) -> Layout:
    """The tree of MMSegmentation's converters, which calls the test split `val`."""
    return Layout('converted', ('img_dir/{split}', '{domain}/img_dir/{split}'),
                  ('ann_dir/{split}', '{domain}/ann_dir/{split}'), splits={'test': 'val'}, ids=ids)


def choose_layout(layouts: Sequence[Layout], root: Path, split: str, domains: Sequence[str],
                  classes: Sequence[str], where: str, remedy: str) -> Layout:
    """Find the layout that lies in a data root.

    Args:
        layouts: What the data set reads.
        root: The data root.
        split: The split that is asked for.
        domains: The domains that are asked for.
        classes: Names of the stored classes, which an index must name as well; empty: any.
        where: Name of the data set and its root, for messages.
        remedy: How to get the data set, likewise.

    Raises:
        DataError: None of them or several lie there, the index tells of other classes, or it is
            missing.
    """
    index = _read_index(root)
    if index is not None and PREPARED.name in {layout.name for layout in layouts}:
        return _indexed(next(layout for layout in layouts if layout.name == PREPARED.name),
                        index, classes, where)
    if len(layouts) == 1:
        return layouts[0]
    found = [layout for layout in layouts if layout.lies_in(root, split, domains)]
    if PREPARED.name in {layout.name for layout in found}:  # the index is written last
        raise DataError(f'{where} looks prepared, but has no {INDEX}: `crossearth data prepare` '
                        'has not finished. Run it again, or read what is there by '
                        "layout='prepared'.")
    if len(found) == 1:
        return found[0]
    named = ', '.join(
        f"'{layout.name}' ({layout.locate(root, split, domains[0])[0].relative_to(root)})"
        for layout in found or layouts)
    if found:
        raise DataError(f'{where} holds more than one layout: {named}. Say which by layout=NAME.')
    raise DataError(f"{where} holds no files of the split '{split}' in any layout that is read: "
                    f'{named}. The folder {contents_of(root)}. {remedy}')


def _read_index(root: Path) -> dict | None:
    """The index of the prepared layout, or None where there is none."""
    path = root / INDEX
    if not path.is_file():
        return None
    try:
        index = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise DataError(f'Cannot read {path}: {error}. Prepare the data set again, or remove this '
                        'file.') from error
    return index if isinstance(index, dict) and index.get('format') == INDEX_FORMAT else None


def _indexed(layout: Layout, index: Mapping, classes: Sequence[str], where: str) -> Layout:
    """The prepared layout with what its index promises."""
    stored = tuple(index.get('classes', ()))
    if index.get('version') != 1 or index.get('ids') != 'train' or (
            classes and stored != tuple(classes)):
        raise DataError(
            f"{where}: {INDEX} tells of version {index.get('version')} with '{index.get('ids')}' "
            f'ids of the classes {", ".join(map(str, stored))}, but version 1 with train ids of '
            f'{", ".join(classes)} is read. Correct data_root, or prepare the data set again.')
    return replace(layout, img_suffix=layout.img_suffix or index.get('img_suffix'),
                   ids=layout.ids or (from_zero(len(stored)),))


def _several(templates: str | tuple[str, ...]) -> tuple[str, ...]:
    return (templates,) if isinstance(templates, str) else templates
