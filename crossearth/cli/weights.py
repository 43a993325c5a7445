# SPDX-License-Identifier: Apache-2.0
"""`crossearth weights`: list, download and take in files of pre-trained weights."""

import argparse
import sys
from collections.abc import Iterator

__all__ = ['add_parser']

KINDS = {
    'dinov2': 'Backbones DINOv2', 'dinov3': 'Backbones DINOv3', 'resnet': 'Backbones ResNet',
    'mit': 'Backbones MiT', 'rvsa': 'Backbones RVSA (MTP)', 'style': 'Style networks',
    'checkpoint': 'Checkpoints of CrossEarth and Rein'}


def add_parser(subparsers: 'argparse._SubParsersAction[argparse.ArgumentParser]') -> None:
    """Add the sub-command.

    Args:
        subparsers: Where it goes; `run` of the parsed arguments does the work.
    """
    parser = subparsers.add_parser(
        'weights',
        help='list, download and take in pre-trained weights, e.g. crossearth weights list',
        description='Pre-trained weights: what there is, and what is on this machine.')
    actions = parser.add_subparsers(dest='action', metavar='ACTION', required=True)
    listing = actions.add_parser('list', help='list all known weights')
    listing.set_defaults(run=run_list)
    get = actions.add_parser('get', help='download weights')
    get.add_argument('name', metavar='NAME', help='a name of the list')
    get.add_argument('--no-verify', action='store_true',
                     help='accept another hash than the known one')
    get.set_defaults(run=run_get)
    add = actions.add_parser('add', help='take in a file that is on this machine')
    add.add_argument('file', metavar='FILE', help='file of weights')
    add.add_argument('--as', dest='name', metavar='NAME',
                     help='what it is (default: found out from the file)')
    add.set_defaults(run=run_add)


def run_list(args: argparse.Namespace) -> int:
    """Print the table of all known weights."""
    sys.stdout.write('\n'.join(_lines()) + '\n')
    return 0


def run_get(args: argparse.Namespace) -> int:
    """Download weights, with a progress bar on a terminal."""
    from crossearth.weight_files import file_sha256
    from crossearth.weights import SOURCES, fetch

    path = fetch.get(args.name, verify=not args.no_verify, progress=_progress)
    if sys.stderr.isatty():
        sys.stderr.write('\n')
    sys.stdout.write(f'{path}\nlicence: {SOURCES[args.name].licence}\n')
    if args.no_verify:
        sys.stdout.write(f'sha256 {file_sha256(path)}, not verified\n')
    return 0


def run_add(args: argparse.Namespace) -> int:
    """Take in a file."""
    from crossearth.weights import fetch

    sys.stdout.write(f'{fetch.add(args.file, args.name)}\n')
    return 0


def _lines() -> Iterator[str]:
    from crossearth.weights.fetch import weights_folder
    from crossearth.weights.sources import SOURCES, locate

    for kind, title in KINDS.items():
        yield title
        for source in SOURCES.values():
            if source.kind == kind:
                here = locate(source)
                size = f'{source.size_mb:6.0f} MB' if source.size_mb else ' ' * 9
                licence = source.licence.partition(' (')[0]
                yield (f'  {"*" if here else " "} {source.name:35}{size}  {licence:14}  '
                       f'{source.note}')
                if here:
                    yield f'      {here}'
                elif kind == 'dinov3':
                    yield f"      if the download is refused: {source.remedy}"
    yield f'* on this machine. `crossearth weights get NAME` puts files into {weights_folder()}'


def _progress(done: int, total: int | None) -> None:
    if sys.stderr.isatty():
        share = f' of {total / 1e6:.0f}' if total else ''
        sys.stderr.write(f'\r{done / 1e6:.0f}{share} MB ')
