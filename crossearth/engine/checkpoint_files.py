# SPDX-License-Identifier: Apache-2.0
"""Checkpoints as files: written whole or not at all, checked before use, found again after a crash.

The work folder of a run holds `iter_<n>.pth`, beside each its SHA-256 in `iter_<n>.pth.sha256` (as
`sha256sum` writes it), and `last_checkpoint` with the name of the newest one, for other tools: we
look at the files themselves.

A file is written under a temporary name, synced to the disk and renamed. An old checksum of the
same name is removed before the rename and the new one is written after it, so that a crash leaves
either a pair that fits or a file without checksum. The latter is judged by its own structure: it is
a zip archive, which ends with its table of contents and holds the CRC-32 of every tensor.
"""

import hashlib
import os
import re
import shutil
import socket
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import torch

from crossearth.errors import CheckpointError
from crossearth.weight_files import file_sha256

__all__ = [
    'POINTER',
    'iteration_of',
    'list_checkpoints',
    'newest_valid',
    'point_to',
    'problem_of',
    'prune',
    'remove_orphans',
    'save_checkpoint',
    'set_aside',
    'verify',
]

POINTER = 'last_checkpoint'
NAME = re.compile(r'iter_(\d+)\.pth')
TEMPORARY = re.compile(
    r'\.(?:iter_\d+\.pth(?:\.sha256)?|last_checkpoint)\.(?P<host>.+)\.(?P<process>\d+)\.tmp')
ABANDONED = 3600  # s without a write, after which a temporary file of any machine is an orphan


def iteration_of(path: Path) -> int:
    """Give the iteration in a checkpoint's name, -1 for a file that is none."""
    match = NAME.fullmatch(path.name)
    return int(match[1]) if match else -1


def list_checkpoints(folder: str | Path) -> list[Path]:
    """List the checkpoints of a folder, valid or not, the highest iteration first."""
    found = [path for path in Path(folder).glob('iter_*.pth') if iteration_of(path) >= 0]
    return sorted(found, key=iteration_of, reverse=True)


# ------------------------------------------------------------------------------------------ write

def save_checkpoint(content: Any, path: Path) -> None:
    """Write a checkpoint and its checksum; an older file of this name stays until then.

    Args:
        content: What `torch.save` can write.
        path: The file.

    Raises:
        CheckpointError: The disk is full, or the file cannot be written for another reason.
    """
    temporary = _temporary(path)
    sink = _HashingSink()
    try:
        with temporary.open('wb', buffering=0) as sink.file:
            torch.save(content, cast(IO[bytes], sink))
            if sink.error is not None:
                raise sink.error
            os.fsync(sink.file.fileno())
        _checksum_of(path).unlink(missing_ok=True)
        _rename(temporary, path)
        _write_text(_checksum_of(path), f'{sink.digest.hexdigest()}  {path.name}\n')
    except OSError as error:
        free = shutil.disk_usage(path.parent).free / 1e6 if path.parent.is_dir() else 0.0
        raise CheckpointError(
            f'the checkpoint {path} could not be written ({error.strerror or error}): it needs '
            f'{sink.size / 1e6:.1f} MB, and {free:.1f} MB are free. Earlier checkpoints are '
            'untouched. Make room on the disk, or keep fewer of them '
            '(default_hooks.checkpoint.max_keep_ckpts).') from error
    finally:
        temporary.unlink(missing_ok=True)


class _HashingSink:
    """What `torch.save` writes into: hashes and counts, also what no longer fits on the disk.

    An error is kept for later. Raised here, it would pass through torch's C++ code, which makes
    another one of it; and counting on tells how many bytes the whole file needs.
    """

    file: IO[bytes]

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.size = 0
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        rest = memoryview(data).cast('B')
        written = len(rest)
        self.size += written
        self.digest.update(rest)
        try:
            while rest and self.error is None:
                rest = rest[self.file.write(rest):]
        except OSError as error:
            self.error = error
        return written

    def flush(self) -> None:
        """Do nothing: the file has no buffer."""


def point_to(path: Path) -> None:
    """Make `last_checkpoint` name a checkpoint of its folder, by a name that survives a move."""
    _write_text(path.parent / POINTER, path.name)


def _write_text(path: Path, text: str) -> None:
    temporary = _temporary(path)
    try:
        with temporary.open('w', encoding='utf-8') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _rename(temporary: Path, path: Path) -> None:
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)  # the new name, too, must reach the disk
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _temporary(path: Path) -> Path:
    return path.with_name(f'.{path.name}.{socket.gethostname()}.{os.getpid()}.tmp')


def _checksum_of(path: Path) -> Path:
    return path.with_name(f'{path.name}.sha256')


# ------------------------------------------------------------------------------------------- read

def problem_of(path: Path) -> str | None:
    """Say what is wrong with a checkpoint file, or None if nothing is.

    Args:
        path: A file with its checksum beside it, or without.
    """
    try:
        if path.stat().st_size == 0:
            return 'it is empty'
        recorded = _recorded_sha256(path)
        if recorded is None:
            return _structural_problem(path)
        digest = file_sha256(path)
    except OSError as error:
        return f'it cannot be read: {error.strerror or error}'
    if digest != recorded:
        return (f'sha256 mismatch: {digest[:12]}..., but {recorded[:12]}... was written; the file '
                'is truncated or damaged')
    return None


def verify(path: str | Path) -> None:
    """Refuse a file that is not the one that was written; a file without checksum passes.

    `torch.load` does not look at the CRC-32 of tensors: it loads a flipped bit in silence.

    Args:
        path: A checkpoint that is about to be loaded.

    Raises:
        CheckpointError: The file does not fit the checksum beside it.
    """
    path = Path(path)
    if _recorded_sha256(path) and (problem := problem_of(path)):
        raise CheckpointError(
            f'the checkpoint {path} is not loaded: {problem}. Use another one of the same folder, '
            f'or copy it again; if you changed it on purpose, delete {_checksum_of(path).name}.')


def _recorded_sha256(path: Path) -> str | None:
    """The digest in the checksum file, if there is one that can be read."""
    try:
        text = _checksum_of(path).read_text(encoding='utf-8')
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    match = re.match(r'[0-9a-f]{64}\b', text)
    return match[0] if match else None


def _structural_problem(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except OSError:
        raise
    except Exception as error:  # zipfile raises a dozen types on damaged bytes
        return f'it is truncated or damaged ({error})'
    return f'it is damaged at {damaged}' if damaged else None


def newest_valid(
    folder: str | Path, warn: Callable[[str], object] = warnings.warn
) -> Path | None:
    """Find the newest checkpoint that is whole.

    Args:
        folder: Work folder of a run.
        warn: Is told of each damaged file on the way.

    Returns:
        The file, or None where the folder holds no checkpoint at all.

    Raises:
        CheckpointError: None of the checkpoints is valid.
    """
    problems = []
    for path in list_checkpoints(folder):
        problem = problem_of(path)
        if problem is None:
            return path
        problems.append(f'{path.name}: {problem}')
        warn(f'The checkpoint {path} is passed over: {problem}.')
    if problems:
        raise CheckpointError(
            f'none of the checkpoints in {folder} is valid ({"; ".join(problems)}). Copy an intact '
            'one there, or start anew without --resume.')
    return None


# ---------------------------------------------------------------------------------------- tidy up

def prune(newest: Path, keep: int) -> None:
    """Remove old checkpoints; to be called when `newest` has been written.

    Args:
        newest: The checkpoint to count back from; higher iterations are left alone.
        keep: How many to keep, `newest` included; all if not positive.
    """
    last = iteration_of(newest)
    older = [path for path in list_checkpoints(newest.parent) if iteration_of(path) <= last]
    for path in older[keep:] if keep > 0 else ():
        _checksum_of(path).unlink(missing_ok=True)  # first: a crash leaves no checksum of nothing
        path.unlink(missing_ok=True)


def set_aside(folder: str | Path, after: int) -> list[Path]:
    """Rename checkpoints beyond the iteration that a run starts from to `earlier_iter_<n>.pth`.

    They are damaged, or another run made them, and no later resume must take them for its own.

    Args:
        folder: Work folder.
        after: The iteration that the run starts from; 0 for a new one.

    Returns:
        The new paths.
    """
    moved = []
    for path in list_checkpoints(folder):
        if iteration_of(path) > after:
            for file in (_checksum_of(path), path):
                if file.exists():
                    file.replace(file.with_name(f'earlier_{file.name}'))
            moved.append(path.with_name(f'earlier_{path.name}'))
    if moved:
        left = list_checkpoints(folder)
        if left:
            point_to(left[0])
        else:
            (Path(folder) / POINTER).unlink(missing_ok=True)
    return moved


def remove_orphans(folder: str | Path) -> list[Path]:
    """Remove temporary files whose writer is gone.

    Args:
        folder: Work folder.

    Returns:
        What was removed.
    """
    removed = []
    for path in Path(folder).glob('.*.tmp'):
        match = TEMPORARY.fullmatch(path.name)
        if match and _orphaned(path, match['host'], int(match['process'])):
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed


def _orphaned(path: Path, host: str, process: int) -> bool:
    try:
        # also by age: a process of another machine cannot be asked, and numbers are used again
        if time.time() - path.stat().st_mtime > ABANDONED:
            return True
    except FileNotFoundError:
        return False
    if host != socket.gethostname():
        return False
    if process == os.getpid():  # we are not writing now: a namesake in an earlier container did
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False
