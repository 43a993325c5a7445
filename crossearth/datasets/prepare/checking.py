# SPDX-License-Identifier: Apache-2.0
"""What a copy of a data set on disk holds, and whether that is what it should hold."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crossearth import datasets
from crossearth.benchmark import DATA_SETS, DataSet
from crossearth.datasets.base import DomainSegDataset
from crossearth.datasets.labels import IGNORE_INDEX, LabelRule
from crossearth.errors import ConfigError, CrossEarthError, DataError, suggest

__all__ = ['Part', 'Report', 'check']

THREADS = 8  # the work is decompression, which releases the interpreter
Progress = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Part:
    """One domain of one split.

    Args:
        split: Name of the split.
        domain: Name of the domain.
        images: Number of images.
        published: Number of images in the benchmark.
        class_counts: Pixels of each class, ignored ones last.
    """

    split: str
    domain: str
    images: int
    published: int
    class_counts: tuple[int, ...]


@dataclass
class Report:
    """What was found.

    Args:
        classes: Names of the classes.
        parts: Every part that can be read.
        troubles: What is wrong.
        notes: What differs from the benchmark, and may be meant so.
    """

    classes: tuple[str, ...]
    parts: list[Part] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check(name: str, root: str | Path, progress: Progress | None = None) -> Report:
    """Check a copy through the class that trains on it, and against the index where it has one.

    Args:
        name: Name of the data set.
        root: Folder of the copy, prepared or in another layout that the class reads.
        progress: Told how far it is.

    Raises:
        ConfigError: There is no such data set.
        DataError: The folder does not exist, or its index is damaged.
    """
    if name not in DATA_SETS:
        raise ConfigError(f"There is no data set '{name}'.{suggest(name, DATA_SETS)} "
                          f'There are {", ".join(DATA_SETS)}.')
    facts, root = DATA_SETS[name], Path(root)
    if not root.is_dir():
        raise DataError(f'The folder {root.absolute()} does not exist. `crossearth data info '
                        f'{name}` says how to get the data set.')
    summary = _summary(root)
    report = Report(facts.classes)
    for domain, split in facts.counts:
        if not _is_there(facts, root, split, domain, summary):
            report.notes.append(f'{split} of {domain} is missing: '
                                f'{facts.counts[domain, split]} images in the benchmark.')
            continue
        try:
            _check_part(report, facts, root, split, domain, summary, progress)
        except CrossEarthError as error:
            report.troubles.append(str(error))
    if not report.parts and not report.troubles:
        report.troubles.append(f'Nothing of {facts.title} lies in {root.absolute()}.')
    return report


def _summary(root: Path) -> Mapping[str, Mapping[str, Mapping[str, Any]]] | None:
    """What the index says, by split and domain; None where there is no index."""
    path = root / 'index.json'
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding='utf-8'))['summary']
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f'Cannot read {path}: {error!r}. Prepare the data set again.') from error


def _is_there(facts: DataSet, root: Path, split: str, domain: str,
              summary: Mapping[str, Mapping] | None) -> bool:
    if summary is not None:
        return domain in summary.get(split, {})
    layouts = getattr(datasets, facts.class_name).LAYOUTS
    return any(layout.lies_in(root, split, (domain,)) for layout in layouts)


def _check_part(report: Report, facts: DataSet, root: Path, split: str, domain: str,
                summary: Mapping[str, Mapping] | None, progress: Progress | None) -> None:
    """Read one part and add what is found to the report."""
    dataset: DomainSegDataset = getattr(datasets, facts.class_name)(
        data_root=str(root), domains=(domain,), split=split, lazy_init=True)
    labels = [sample['seg_map_path'] for sample in dataset.load_data_list()]
    counts = _count(labels, dataset.rule, len(facts.classes), f'{split}/{domain}', progress)
    published = facts.counts[domain, split]
    part = Part(split, domain, len(labels), published, counts)
    report.parts.append(part)
    if part.images != published:
        report.notes.append(f'{split} of {domain} has {part.images} images, {published} in the '
                            'benchmark: results are not comparable with the published ones.')
    entry = summary[split][domain] if summary is not None else {}
    if entry and entry['tiles'] != part.images:
        report.troubles.append(f'{split} of {domain} has {part.images} images, but '
                               f'{entry["tiles"]} were prepared. Prepare it again.')
    # a data set that reads the labels of another one through a map counts other classes
    elif entry and len(entry['class_counts']) == len(counts) and (
            tuple(entry['class_counts']) != counts):
        report.troubles.append(f'The labels of {split} of {domain} have changed since they were '
                               'prepared: classes have other numbers of pixels. Prepare it again.')
    if off_palette := entry.get('off_palette'):
        report.notes.append(
            f'{off_palette} px in {len(entry.get("off_palette_files", ()))} label(s) of {split} of '
            f'{domain} are of no class and are ignored.')


def _count(labels: Sequence[str], rule: LabelRule, num_classes: int, what: str,
           progress: Progress | None) -> tuple[int, ...]:
    """Pixels of each class, ignored ones last."""
    total = np.zeros(IGNORE_INDEX + 1, np.int64)

    def count(path: str) -> np.ndarray:
        return np.bincount(rule.read(path).ravel(), minlength=IGNORE_INDEX + 1)

    with ThreadPoolExecutor(THREADS) as pool:
        for done, counts in enumerate(pool.map(count, labels), start=1):
            total += counts
            if progress:
                progress(what, done, len(labels))
    return tuple(int(n) for n in total[[*range(num_classes), IGNORE_INDEX]])
