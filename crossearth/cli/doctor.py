# SPDX-License-Identifier: Apache-2.0
"""`crossearth doctor`: is this installation sound, and if not, what mends it."""

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crossearth import __version__
from crossearth.weight_files import cache_folder

__all__ = ['Finding', 'add_parser', 'examine']

DESCRIPTION = """\
Look at versions, devices, optional parts, disk space and known clashes. Each trouble comes with the
one command that mends it. The status is 1 where something is broken."""

PACKAGE = 'crossearth'
IMPORTED = ('torch', 'numpy', 'cv2', 'mmengine', 'mmcv', 'mmseg')
# These packages hold modules of the same names as the OneDL forks and overwrite their files.
ORIGINALS = {'mmengine': 'onedl-mmengine', 'mmengine-lite': 'onedl-mmengine',
             'mmcv': 'onedl-mmcv', 'mmcv-lite': 'onedl-mmcv', 'mmcv-full': 'onedl-mmcv',
             'mmsegmentation': 'onedl-mmsegmentation'}
LITTLE_DISK = 2e9  # bytes


@dataclass(frozen=True)
class Finding:
    """What one look showed.

    Args:
        name: What was looked at.
        state: `ok`, `note` (works, but you may want more) or `broken`.
        detail: What is there.
        remedy: The command or step that mends it.
    """

    name: str
    state: str
    detail: str
    remedy: str = ''


def add_parser(subparsers: Any) -> None:
    """Add `doctor`."""
    parser = subparsers.add_parser(
        'doctor', description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help='check this installation, e.g. crossearth doctor')
    parser.add_argument('--json', action='store_true', help='write JSON')
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    findings = list(examine())
    broken = [finding for finding in findings if finding.state == 'broken']
    if args.json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=1) + '\n')
        return int(bool(broken))
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow='fold')
    for finding in findings:
        remedy = f'\n-> {finding.remedy}' if finding.remedy else ''
        table.add_row(finding.state, finding.name, finding.detail + remedy)
    console = Console(highlight=False, markup=False)
    console.print(table)
    console.print(f'{len(broken)} broken.' if broken else 'Nothing is broken.')
    return int(bool(broken))


def examine() -> Iterator[Finding]:
    """Look at everything.

    Yields:
        Findings, in the order of a reader's interest.
    """
    yield Finding('crossearth', 'ok', f'{__version__}, Python {platform.python_version()}, '
                                      f'{platform.system()} {platform.machine()}')
    yield from _clashes()
    yield from _requirements()
    yield from _imports()
    yield from _devices()
    yield from _disks()


# ------------------------------------------------------------------------- packages

def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _clashes() -> Iterator[Finding]:
    for original, fork in ORIGINALS.items():
        if (version := _version(original)) is not None:
            again = f'pip install --force-reinstall --no-deps {fork}=={_version(fork)}' if (
                _version(fork)) else f'pip install {fork}'
            yield Finding(original, 'broken', f'{version} shares its files with {fork}',
                          f'pip uninstall -y {original} && {again}')
    opencv = [name for name in ('opencv-python', 'opencv-python-headless', 'opencv-contrib-python',
                                'opencv-contrib-python-headless') if _version(name)]
    if len(opencv) > 1:
        yield Finding('opencv', 'note', f'{" and ".join(opencv)} share their files',
                      f'pip uninstall -y {" ".join(opencv)} && pip install opencv-python')
    if _version('torchvision') is not None:
        yield _try_import('torchvision', (
            'pip uninstall -y torchvision (crossearth does not need it), or install the one that '
            'fits this torch'))
    if _version('transformers') is not None:
        yield Finding('transformers', 'note', 'its presence makes every start seconds slower',
                      'pip uninstall -y transformers, if nothing else needs it')


def _requirements() -> Iterator[Finding]:
    """Compare what is installed with what the package asks for, extra by extra."""
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding('installation', 'note', 'crossearth runs from a folder and is not installed, '
                                              'so its requirements are not known here',
                      'pip install -e . in the folder of crossearth')
        return
    parts: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, lines):
        marker = str(requirement.marker or '')
        extra = marker.rpartition('extra ==')[2].strip(' "\'') if 'extra ==' in marker else ''
        parts.setdefault(extra, []).append(requirement)
    for extra, requirements in parts.items():
        wrong = [text for text in map(_unmet, requirements) if text]
        if extra:
            yield Finding(f'extra {extra}', 'note' if wrong else 'ok',
                          f'missing: {", ".join(wrong)}' if wrong else 'complete',
                          f"pip install 'crossearth[{extra}]'" if wrong else '')
        else:
            names = ', '.join(f'{r.name} {_version(r.name)}' for r in requirements)
            yield Finding('packages', 'broken' if wrong else 'ok', ', '.join(wrong) or names,
                          'pip install --upgrade crossearth' if wrong else '')


def _unmet(requirement: Any) -> str:
    """What is wrong with one requirement; nothing if it is met."""
    version = _version(requirement.name)
    if version is None:
        return requirement.name
    if not requirement.specifier.contains(version, prereleases=True):
        return f'{requirement.name} {version} (needs {requirement.specifier})'
    return ''


def _imports() -> Iterator[Finding]:
    from crossearth import compat

    failed = []
    for module in IMPORTED:
        finding = _try_import(module, f'pip install --force-reinstall {module}')
        if finding.state == 'broken':
            failed.append(finding)
        elif module == 'mmengine':
            compat.silence()
    yield from failed
    if not failed:
        yield Finding('imports', 'ok', ', '.join(IMPORTED))


def _try_import(module: str, remedy: str) -> Finding:
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken package can raise anything
        text = (str(error).splitlines() or [''])[0]
        return Finding(module, 'broken', f'cannot be imported: {type(error).__name__}: {text}',
                       remedy)
    return Finding(module, 'ok', _version(module) or 'there')


# ------------------------------------------------------------------------- machine

def _devices() -> Iterator[Finding]:
    try:
        import torch
    except Exception:  # said by _imports
        return
    cores = f'{os.cpu_count()} cores'
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            yield Finding(f'cuda:{index}', 'ok',
                          f'{facts.name}, {facts.total_memory / 1e9:.0f} GB, CUDA '
                          f'{torch.version.cuda}')
    elif shutil.which('nvidia-smi'):
        built = f'is built for CUDA {torch.version.cuda}' if torch.version.cuda else (
            'is built without CUDA')
        yield Finding('cuda', 'broken', f'there is a driver, but torch {torch.__version__} {built} '
                                        'and finds no device',
                      'update the driver, or install a torch for its CUDA version: '
                      'https://pytorch.org/get-started/locally')
    if torch.backends.mps.is_available():
        yield Finding('mps', 'ok', 'Apple graphics')
    yield Finding('cpu', 'ok', f'{cores}, torch uses {torch.get_num_threads()} threads')


def _disks() -> Iterator[Finding]:
    for name, folder in (('this folder', Path.cwd()), ('cache', cache_folder()),
                         ('temporary files', Path(tempfile.gettempdir()))):
        there = next(path for path in (folder, *folder.parents) if path.is_dir())
        free = shutil.disk_usage(there).free
        writable = os.access(there, os.W_OK)
        state = 'broken' if not writable else 'note' if free < LITTLE_DISK else 'ok'
        yield Finding(name, state, f'{folder}: {free / 1e9:,.1f} GB free' + (
            '' if writable else ', not writable'),
                      'make it writable, or work in another folder' if not writable else
                      'free space' if free < LITTLE_DISK else '')
