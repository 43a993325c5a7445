# SPDX-License-Identifier: Apache-2.0
"""What of a prepared folder is complete: one line on disk for each finished source image."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from crossearth.errors import DataError

__all__ = ['DOWNLOADS', 'Journal', 'Record']

NAME = '.prepare.jsonl'
DOWNLOADS = 'downloads'


@dataclass(frozen=True)
class Record:
    """A finished source image.

    Args:
        unit: `split/domain/name`.
        stamp: Changes when the sources or their treatment do.
        tiles: Names of the images that it became.
        class_counts: Pixels of each class in these, ignored ones last.
        off_palette: Pixels of the source label that no class stands for.
        source: File of the label in the sources, for the summary.
    """

    unit: str
    stamp: str
    tiles: list[str] = field(default_factory=list)
    class_counts: list[int] = field(default_factory=list)
    off_palette: int = 0
    source: str = ''


class Journal:
    """The finished source images of a folder, kept through a kill.

    Args:
        root: Folder of the prepared data set.
        header: How the data set is prepared; a folder has one way only.

    Raises:
        DataError: The folder holds something else, or the data set in another way.
    """

    def __init__(self, root: Path, header: Mapping[str, Any]) -> None:
        self.path, self.header = root / NAME, header
        self.records: dict[str, Record] = {}
        self.sources: dict[str, int] = {}
        if self.path.is_file():
            self._load()
        elif any(not entry.name.startswith('.') and entry.name != DOWNLOADS
                 for entry in root.iterdir()):
            raise DataError(f'{root.absolute()} is not empty and was not begun by this command, so '
                            'it is left alone. Give another --dst, or remove the folder.')

    def add(self, record: Record) -> None:
        """Note a source image whose files are all in place."""
        self.records[record.unit] = record
        self._append({'record': asdict(record)})

    def add_sources(self, sources: Mapping[str, int]) -> None:
        """Note what the user gave: names and bytes."""
        new = {name: size for name, size in sources.items() if self.sources.get(name) != size}
        self.sources |= new
        if new:
            self._append({'sources': new})

    def holds(self, unit: str, stamp: str) -> bool:
        """Whether a source image was finished from these very sources and its files are there."""
        record = self.records.get(unit)
        if record is None or record.stamp != stamp:
            return False
        folder = self.path.parent / unit.rpartition('/')[0]
        return all((folder / 'images' / tile).is_file()
                   and (folder / 'labels' / f'{Path(tile).stem}.png').is_file()
                   for tile in record.tiles)

    def _append(self, entry: Mapping[str, Any]) -> None:
        entries = [entry] if self.path.is_file() else [{'header': self.header}, entry]
        # the newline comes first: it ends a line that a kill has cut short
        text = ''.join('\n' + json.dumps(entry) for entry in entries)
        with self.path.open('a', encoding='utf-8') as file:
            file.write(text)

    def _load(self) -> None:
        for line in self.path.read_text(encoding='utf-8', errors='replace').splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if 'record' in entry:
                record = Record(**entry['record'])
                self.records[record.unit] = record
            self.sources |= entry.get('sources', {})
            before = entry.get('header', self.header)
            if before != self.header:
                raise DataError(
                    f'{self.path.parent.absolute()} was begun as {_words(before)}, not as '
                    f'{_words(self.header)}. Give the same options again, another --dst, or remove '
                    'the folder.')


def _words(header: Mapping[str, Any]) -> str:
    return ', '.join(f'{key} {value}' for key, value in header.items())
