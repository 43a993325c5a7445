# SPDX-License-Identifier: Apache-2.0
"""Files below folders and inside zips, also zips in zips, read one by one without unpacking.

An archive is judged by its directory before anything of it is read: names that lead outside,
links and entries that would grow beyond measure refuse it as a whole.
"""

import functools
import io
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from crossearth.errors import DataError

__all__ = ['Member', 'find_members']

MAX_BYTES = 1 << 30  # of one image; the largest of the eight data sets has 0.15 GB
MAX_RATIO = 500  # a label of large even areas reaches about 200
HARMLESS_BYTES = 1 << 25  # what is smaller than this cannot hurt at any ratio
MAX_DEPTH = 3  # archives in archives; one that holds itself would never end
LOCAL_HEADER = 30
# RuntimeError is how zipfile asks for a password
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)


@dataclass(frozen=True)
class Member:
    """One file, wherever it lies.

    Args:
        path: Where it lies in words, `/` between parts, archives among them.
        size: Bytes.
        stamp: Changes with the content: checksum in an archive, else size and time.
        source: The archive on disk that it is in, or the folder that the user named.
        domain: What the user says that the source holds.
        file: File on disk: this one, or the archive.
        name: Name inside the archive; empty for a file on disk.
        start: Where the archive begins in `file`: one that is stored in another is read in place.
        length: Bytes of the archive.
        source_size: Bytes of the archive on disk; 0 for a file on disk.
    """

    path: str
    size: int
    stamp: str
    source: str
    domain: str | None
    file: Path
    name: str = ''
    start: int = 0
    length: int = 0
    source_size: int = 0

    def read(self) -> bytes:
        """Read the content.

        Raises:
            DataError: It is too large, damaged or encrypted.
        """
        if self.size > MAX_BYTES:
            raise DataError(f'{self.path} is {self.size / 1e9:.1f} GB large, but no image of this '
                            f'data set is larger than {MAX_BYTES / 1e9:.1f} GB. Download it again.')
        try:
            if not self.name:
                return self.file.read_bytes()
            return _open(self.file, self.start, self.length).read(self.name)
        except (OSError, *DAMAGE) as error:
            raise DataError(f'Cannot read {self.path}: {error}. The file is damaged or its '
                            'download was cut short: download it again.') from error


def find_members(
    sources: Sequence[str | Path], scratch: Path, unneeded: str = '', skip: Path | None = None
) -> Iterator[Member]:
    """List the files of sources, those in archives too.

    Args:
        sources: Zips, folders that hold files and zips, or `DOMAIN=PATH`.
        scratch: Where an archive that is compressed inside another one is unpacked to.
        unneeded: Regular expression of archives that are not opened.
        skip: Folder that is left out, since it is ours.

    Raises:
        DataError: A source does not exist, or an archive is damaged or hostile.
    """
    _open.cache_clear()  # a source may be another file than the last time
    walk = _Walk(scratch, re.compile(unneeded, re.IGNORECASE) if unneeded else None)
    for source in sources:
        domain, path = _split(str(source))
        if path.is_file():
            yield from walk.file(path, path.name, path.name, domain)
        elif path.is_dir():
            for file in _files(path, skip):
                below = file.relative_to(path).as_posix()
                name = path.resolve().name
                yield from walk.file(file, f'{name}/{below}', name, domain)
        else:
            raise DataError(f'The source {path.absolute()} does not exist. Correct --src.')


def _split(source: str) -> tuple[str | None, Path]:
    """`aerial=downloads/whu.zip` -> the domain and the path; a path may hold `=` too."""
    domain, equals, rest = source.partition('=')
    named = bool(equals) and re.fullmatch(r'\w+', domain) and not Path(source).exists()
    return (domain, Path(rest).expanduser()) if named else (None, Path(source).expanduser())


def _files(folder: Path, skip: Path | None) -> Iterator[Path]:
    """Files below a folder in sorted order."""
    ours = skip.resolve() if skip else None
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if (Path(parent) / name).resolve() != ours)
        yield from (Path(parent) / name for name in sorted(files))


@dataclass(frozen=True)
class _Walk:
    scratch: Path
    unneeded: re.Pattern[str] | None

    def file(self, file: Path, path: str, source: str, domain: str | None) -> Iterator[Member]:
        """The member that a file on disk is, or the members that it holds."""
        if _hidden(path):
            return
        status = file.stat()
        stamp = f'{status.st_size}-{status.st_mtime_ns}'
        member = Member(path, status.st_size, stamp, source, domain, file)
        if path.lower().endswith('.zip'):
            archive = replace(member, source=path, source_size=status.st_size)
            yield from self.archive(archive, file, 0, status.st_size)
        else:
            yield member

    def archive(self, outer: Member, file: Path, start: int, length: int) -> Iterator[Member]:
        """The members of the archive `outer`, which lies at `start` in `file`."""
        path = outer.path
        if self.unneeded and self.unneeded.search(path.rpartition('/')[2]):
            return
        if path.lower().count('.zip/') == MAX_DEPTH:
            raise DataError(f'The archive {path} lies in {MAX_DEPTH} others, which no data set '
                            'does. Unpack the outer ones by hand if you trust them.')
        try:
            archive = _open(file, start, length)
        except (OSError, *DAMAGE) as error:
            raise DataError(f'{path} is no intact zip archive: {error}. Its download was probably '
                            'cut short: download it again.') from error
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        for entry in entries:
            _refuse_hostile(entry, path)
        for entry in sorted(entries, key=lambda entry: entry.filename):
            inner = replace(
                outer, path=f'{path}/{entry.filename}', size=entry.file_size,
                stamp=f'{entry.file_size}-{entry.CRC:08x}', file=file, name=entry.filename,
                start=start, length=length)
            if _hidden(inner.path):
                continue
            if inner.path.lower().endswith('.zip'):
                place = self._nested(archive, entry, file, start, inner.path)
                yield from self.archive(inner, *place)
            else:
                yield inner

    def _nested(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, file: Path, start: int,
                path: str) -> tuple[Path, int, int]:
        """File, start and length of an archive inside an archive."""
        if entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1:
            with _Slice(file, start, 1 << 62) as outer:
                outer.seek(entry.header_offset)
                header = outer.read(LOCAL_HEADER)
            first = entry.header_offset + LOCAL_HEADER + sum(struct.unpack('<2H', header[26:]))
            return file, start + first, entry.file_size
        # going to and fro in compressed data would decompress it again and again
        copy = self.scratch / f'{entry.CRC:08x}-{entry.file_size}.zip'
        if not (copy.is_file() and copy.stat().st_size == entry.file_size):
            self._unpack(archive, entry, copy, path)
        return copy, 0, entry.file_size

    def _unpack(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, copy: Path,
                path: str) -> None:
        self.scratch.mkdir(parents=True, exist_ok=True)
        part = copy.with_suffix('.part')
        try:
            with archive.open(entry) as packed, part.open('wb') as file:
                shutil.copyfileobj(packed, file, 1 << 20)
        except DAMAGE as error:
            raise DataError(f'Cannot unpack {path}: {error}. Download it again.') from error
        part.replace(copy)


def _hidden(path: str) -> bool:
    """Left-overs of file managers, such as `__MACOSX/._tile.tif`."""
    return any(part.startswith('.') or part == '__MACOSX' for part in path.split('/'))


def _refuse_hostile(entry: zipfile.ZipInfo, archive: str) -> None:
    """Raise for an entry that no honest archive of images has."""
    name = entry.filename.replace('\\', '/')
    kind = stat.S_IFMT(entry.external_attr >> 16)
    why = ''
    if name.startswith('/') or re.match('[A-Za-z]:', name) or '..' in name.split('/'):
        why = 'leads out of the folder'
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        why = 'is a link or a device, not a file'
    elif entry.file_size > max(HARMLESS_BYTES, MAX_RATIO * entry.compress_size):
        why = (f'would grow from {entry.compress_size} to {entry.file_size} bytes, as a '
               'decompression bomb does')
    if why:
        raise DataError(f'The archive {archive} is refused: its entry {entry.filename!r} {why}. '
                        "Nothing of it was read. Download it again from the data set's own page.")


@functools.lru_cache(maxsize=8)
def _open(file: Path, start: int, length: int) -> zipfile.ZipFile:
    """An archive, opened once in each process."""
    return zipfile.ZipFile(io.BufferedReader(_Slice(file, start, length), 1 << 16))


class _Slice(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, path: Path, start: int, length: int) -> None:
        self.file: IO[bytes] = path.open('rb', buffering=0)
        self.first, self.length, self.position = start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.length}[whence]
        self.position = base + offset
        return self.position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any buffer
        count = max(0, min(len(buffer), self.length - self.position))
        self.file.seek(self.first + self.position)
        data = self.file.read(count)
        buffer[:len(data)] = data
        self.position += len(data)
        return len(data)

    def close(self) -> None:
        self.file.close()
        super().close()
