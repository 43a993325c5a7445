# SPDX-License-Identifier: Apache-2.0
"""Download one file: resumed after an interruption, verified before it gets its name.

Bytes go to `NAME.part`; only what has the right size and hash is renamed to `NAME`, so a file that
exists is complete. The standard library does everything.
"""

import contextlib
import hashlib
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from crossearth.errors import CrossEarthError

__all__ = ['DownloadError', 'Progress', 'download', 'locked']

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the total, if the server tells it."""

ATTEMPTS = 5  # in a row without a single new byte
PAUSE_S = 1.0  # doubled after each attempt
TIMEOUT_S = 30
BLOCK = 1 << 18
TRANSIENT = (408, 429, 500, 502, 503, 504)


class DownloadError(CrossEarthError):
    """A file cannot be downloaded, or is another one than was published."""


def download(
    url: str,
    destination: str | Path,
    *,
    md5: str | None = None,
    sha256: str | None = None,
    size: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Download a file, unless it is there already.

    Args:
        url: Address, http or https.
        destination: Path of the file; its folder is made.
        md5: Published hash, as hexadecimal digits.
        sha256: The same of another kind. Without any hash a part of an earlier call is not used.
        size: Published size in bytes.
        progress: Told how far it is.

    Returns:
        `destination`.

    Raises:
        DownloadError: The server cannot be reached or does not have the file, the file is another
            one than was published, or it cannot be written.
    """
    if urlsplit(url).scheme not in ('http', 'https'):
        raise DownloadError(f'{url} is no address of the web. Give one with https:// or http://.')
    destination = Path(destination)
    hashes = {kind: value.lower() for kind, value in (('md5', md5), ('sha256', sha256)) if value}
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with locked(destination.with_name(f'.{destination.name}.lock')):
            if not destination.is_file() or _fault(destination, hashes, size):
                _fetch(url, destination, hashes, size, progress or (lambda done, total: None))
    except OSError as error:
        raise DownloadError(f'Cannot write {destination}: {error}. Make room or choose another '
                            'folder, then run the same command again.') from error
    return destination


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes wait for, and that the end of a process releases.

    Args:
        path: File that stands for the lock; it exists only while the lock is held.
    """
    while True:
        with path.open('ab') as file:
            _lock(file)
            # who held it before has deleted the file that we waited for
            if not _lies_at(path, file):
                continue
            try:
                yield
            finally:
                with contextlib.suppress(PermissionError):  # Windows: others wait for the file
                    path.unlink(missing_ok=True)
            return


def _lies_at(path: Path, file: IO[bytes]) -> bool:
    """Whether an open file is the one that has this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


if sys.platform == 'win32':
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)


def _fetch(url: str, destination: Path, hashes: Mapping[str, str], size: int | None,
           progress: Progress) -> None:
    """Bring the file into its place, with a second try where an old part did not fit."""
    part = destination.with_name(destination.name + '.part')
    if not hashes:  # nothing would tell whether the rest belongs to the same version
        part.unlink(missing_ok=True)
    resumed = part.is_file() and part.stat().st_size > 0
    _transfer(url, part, size, progress)
    if resumed and _fault(part, hashes, size):
        part.unlink()
        _transfer(url, part, size, progress)
    if fault := _fault(part, hashes, size):
        part.unlink()
        raise DownloadError(
            f'The file from {url} {fault}, so it was thrown away. Download it again; if it stays '
            f'so, fetch it with a browser, compare it with the publisher\'s page and put it into '
            f'{destination.parent.absolute()}.')
    part.replace(destination)


def _transfer(url: str, part: Path, size: int | None, progress: Progress) -> None:
    """Fill `part`; what is in it is kept, and errors of the connection are outlived."""
    attempt = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return _receive(url, part, before, size, progress)
        except urllib.error.HTTPError as error:
            if error.code == 416 and before:  # the part is as long as the file
                return None
            if error.code not in TRANSIENT:
                raise DownloadError(_manual(url, part, f'the server answers {error.code} '
                                                       f'({error.reason})')) from error
            reason: Exception = error
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError,
                TimeoutError) as error:
            reason = error
        attempt = 0 if part.exists() and part.stat().st_size > before else attempt + 1
        if attempt == ATTEMPTS:
            raise DownloadError(_manual(url, part, f'no connection ({reason})')) from reason
        time.sleep(PAUSE_S * 2**attempt)


def _receive(url: str, part: Path, start: int, size: int | None, progress: Progress) -> None:
    """One request; appends to `part` if the server goes on at `start`, else begins anew."""
    request = urllib.request.Request(url, headers={'User-Agent': 'crossearth'})
    if start:
        request.add_header('Range', f'bytes={start}-')
    with _opener().open(request, timeout=TIMEOUT_S) as response:
        goes_on = (response.headers.get('Content-Range') or '').startswith(f'bytes {start}-')
        done = start if response.status == 206 and goes_on else 0
        length = response.headers.get('Content-Length')
        total = done + int(length) if length else None
        if size is not None and total is not None and total != size:
            raise DownloadError(f'{url} is {total} bytes long, but {size} were published. It is '
                                'another file: look for the new address on the page.')
        with part.open('ab' if done else 'wb') as file:
            while block := response.read(BLOCK):
                file.write(block)
                done += len(block)
                progress(done, total)
        if total is not None and done < total:
            raise ConnectionError(f'it ended after {done} of {total} bytes')


def _opener() -> urllib.request.OpenerDirector:
    """An opener for the web only: urllib's own would follow a redirection to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
            urllib.request.ProxyHandler, urllib.request.UnknownHandler,
            urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
            urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPRedirectHandler,
            urllib.request.HTTPErrorProcessor):
        opener.add_handler(handler())
    return opener


def _fault(path: Path, hashes: Mapping[str, str], size: int | None) -> str:
    """What is wrong with a file, or nothing."""
    if size is not None and path.stat().st_size != size:
        return f'is {path.stat().st_size} bytes long, but {size} were published'
    for kind, expected in hashes.items():
        digest = hashlib.new(kind, usedforsecurity=False)
        with path.open('rb') as file:
            while block := file.read(1 << 20):
                digest.update(block)
        if digest.hexdigest() != expected:
            return f'has the {kind} {digest.hexdigest()}, but {expected} was published'
    return ''


def _manual(url: str, part: Path, why: str) -> str:
    return (f'Cannot download {url}: {why}. Run the same command again later, or fetch the file on '
            f'a machine with a connection and put it as {part.name.removesuffix(".part")} into '
            f'{part.parent.absolute()}.')
