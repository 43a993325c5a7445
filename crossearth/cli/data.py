# SPDX-License-Identifier: Apache-2.0
"""`crossearth data`: the data sets of the benchmark, from the download to a checked copy."""

import argparse
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossearth.benchmark import DATA_SETS, DataSet
from crossearth.errors import ConfigError, suggest

if TYPE_CHECKING:
    from rich.table import Table

    from crossearth.datasets.prepare import Report

__all__ = ['add_parser']

DESCRIPTION = """\
Data sets of the benchmark. Three steps lead from a download to training:

  crossearth data info potsdam                  where to download it, and what
  crossearth data prepare potsdam --src DOWNLOADS --dst data/potsdam
  crossearth data check potsdam data/potsdam    is it complete and sound?"""

PREPARE = """\
Cut, convert and sort an official download. Give its archives as they are, or folders that hold
them or what was in them. Nothing is written outside --dst. A run that was interrupted goes on where
it was when it is started again; a copy that is complete is left as it is.

  crossearth data prepare potsdam --src downloads/*.zip --dst data/potsdam
  crossearth data prepare potsdam --src downloads --dst data/potsdam --domains potsdam_rgb
  crossearth data prepare whu --src aerial=first.zip satellite2=second.zip --dst data/whu
  crossearth data prepare loveda --download --dst data/loveda
  crossearth data prepare casid --src downloads --dst data/casid --option ids=1

Options: casid ids=auto|0|1 (id of the first class in the labels), massachusetts white=score|ignore
(pixels that are pure white in the image, where no photograph is)."""

CHECK = """\
Check a copy through the class that trains on it: pairs of images and labels, their sizes, ids,
classes in %, and the numbers of images against the benchmark. The status is 1 where something is
wrong, with --complete also where something is missing."""


def add_parser(subparsers: Any) -> None:
    """Add `data` and its own sub-commands."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = subparsers.add_parser(
        'data', description=DESCRIPTION, formatter_class=raw,
        help='list, prepare and check data sets, e.g. crossearth data list')
    commands = parser.add_subparsers(metavar='COMMAND', required=True)

    listing = commands.add_parser('list', help='table of the data sets, e.g. crossearth data list')
    listing.set_defaults(run=_list)

    info = commands.add_parser(
        'info', help='where to download one, and how to go on, e.g. crossearth data info loveda')
    info.add_argument('name', metavar='NAME', help='name of the data set')
    info.set_defaults(run=_info)

    prepare = commands.add_parser(
        'prepare', description=PREPARE, formatter_class=raw,
        help='cut and convert a download, e.g. crossearth data prepare potsdam --src DOWNLOADS')
    prepare.add_argument('name', metavar='NAME', help='name of the data set')
    prepare.add_argument('--src', nargs='+', default=[], metavar='PATH',
                         help='archives and folders of the download; DOMAIN=PATH names a domain '
                              'that the path does not tell')
    prepare.add_argument('--dst', metavar='DIR', help='folder of the prepared data set (default: '
                                                      '$CROSSEARTH_DATA/NAME or data/NAME)')
    prepare.add_argument('--domains', nargs='+', default=[], metavar='DOMAIN',
                         help='prepare these only; the others can follow later')
    prepare.add_argument('--option', nargs='+', default=[], metavar='KEY=VALUE', dest='options',
                         help='options of a data set, see above')
    prepare.add_argument('--download', action='store_true',
                         help='download it as well, to DIR/downloads (loveda)')
    prepare.add_argument('--workers', type=int, metavar='N',
                         help='processes (default: one for each core, 8 at most)')
    prepare.add_argument('--uncompressed', action='store_true',
                         help='write PNG files that are larger and read several times as fast')
    prepare.set_defaults(run=_prepare)

    check = commands.add_parser(
        'check', description=CHECK, formatter_class=raw,
        help='check a copy on disk, e.g. crossearth data check potsdam data/potsdam')
    check.add_argument('name', metavar='NAME', help='name of the data set')
    check.add_argument('root', metavar='DIR', nargs='?', help='folder of the copy')
    check.add_argument('--complete', action='store_true',
                       help='what is missing, or more than in the benchmark, is trouble too')
    check.set_defaults(run=_check)


# ------------------------------------------------------------------------- list and info

def _list(args: argparse.Namespace) -> int:
    table = _table('name', 'domains', 'classes', 'm/px', 'licence', 'prepared')
    for facts in DATA_SETS.values():
        root = _root(facts.name)
        gsd = sorted({f'{value:g}' for value in facts.gsd_m.values() if value})
        table.add_row(facts.name, ', '.join(facts.domains), str(len(facts.classes)),
                      ', '.join(gsd) or '?', facts.licence,
                      str(root) if (root / 'index.json').is_file() else '-')
    _print(table)
    return 0


def _info(args: argparse.Namespace) -> int:
    facts = _facts(args.name)
    root = _root(facts.name)
    counts = '\n'.join(f'    {root}/{split}/{domain}/{{images,labels}}/   {count} images'
                       for (domain, split), count in facts.counts.items())
    steps = '\n'.join(f'    {n}. {step}' for n, step in enumerate(facts.download.splitlines(), 1))
    md5 = '\n'.join(f'    {digest}  {file}' for file, digest in facts.md5.items())
    there = (root / 'index.json').is_file()
    # what has published checksums has an address without a form or a password
    source = '--download' if facts.md5 else '--src DOWNLOADS'
    _print('\n'.join([
        f'{facts.title} ({facts.name})',
        f'  page      {facts.url}', f'  licence   {facts.licence}',
        f'  classes   {", ".join(facts.classes)}',
        '  domains   ' + ', '.join(_domain(facts, domain) for domain in facts.domains),
        '  how to get it', steps,
        *(['  md5 of the archives', md5] if md5 else []),
        '  prepared layout (labels: 8-bit PNG of train ids, 255 = ignored)', counts,
        '  next', f'    crossearth data {"check" if there else "prepare"} {facts.name} '
                  + (str(root) if there else f'{source} --dst {root}')]))
    return 0


def _domain(facts: DataSet, domain: str) -> str:
    gsd = facts.gsd_m[domain]
    return f'{domain} ({facts.bands[domain]}' + (f'; {gsd:g} m)' if gsd else ')')


def _facts(name: str) -> DataSet:
    if name not in DATA_SETS:
        raise ConfigError(f"There is no data set '{name}'.{suggest(name, DATA_SETS)} "
                          f'There are {", ".join(DATA_SETS)}.')
    return DATA_SETS[name]


def _root(name: str) -> Path:
    """Where configs look for a data set."""
    folder = 'potsdam' if name == 'potsdam5' else name  # reads the same copy through a map
    return Path(os.environ.get('CROSSEARTH_DATA') or 'data') / folder


# ------------------------------------------------------------------------- prepare and check

def _prepare(args: argparse.Namespace) -> int:
    from crossearth.datasets.prepare import prepare
    facts = _facts(args.name)
    root = Path(args.dst or _root(facts.name))
    options = dict(option.partition('=')[::2] for option in args.options)
    with _progress() as progress:
        index = prepare(facts.name, args.src, root, domains=args.domains, options=options,
                        fetch=args.download, workers=args.workers,
                        uncompressed=args.uncompressed, progress=progress)
    _print(_prepared(index))
    off = sum(entry['off_palette'] for _, _, entry in _entries(index))
    _print(f'{off} px of no class in the labels; they are ignored (255).')
    _print(f'Next: crossearth data check {index["name"]} {root}')
    return 0


def _prepared(index: Mapping[str, Any]) -> 'Table':
    """Number of images of each part, and labels with foreign pixels."""
    counts = DATA_SETS[index['name']].counts
    table = _table('split', 'domain', 'images', 'in the benchmark', 'px of no class')
    for split, domain, entry in _entries(index):
        table.add_row(split, domain, str(entry['tiles']), str(counts[domain, split]),
                      str(entry['off_palette']))
        for file, pixels in entry['off_palette_files'].items():
            table.add_row('', f'  {file}', '', '', str(pixels))
    return table


def _entries(index: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for split, domains in index['summary'].items():
        for domain, entry in domains.items():
            yield split, domain, entry


def _check(args: argparse.Namespace) -> int:
    from crossearth.datasets.prepare import check
    facts = _facts(args.name)
    root = Path(args.root or _root(facts.name))
    with _progress() as progress:
        report = check(facts.name, root, progress)
    if report.parts:
        _print(_checked(report))
    for note in report.notes:
        _print(f'note: {note}')
    for trouble in report.troubles:
        _print(f'TROUBLE: {trouble}')
    failed = bool(report.troubles or (args.complete and report.notes))
    verdict = ('not in order.' if failed else
               'sound, but see the notes.' if report.notes else 'complete and sound.')
    _print(f'{facts.title} in {root}: {verdict}')
    return int(failed)


def _checked(report: 'Report') -> 'Table':
    """Classes of each part in % of the labelled pixels, ignored ones in % of all."""
    table = _table('', *(f'{part.split}\n{part.domain}' for part in report.parts))
    table.add_row('images', *(str(part.images) for part in report.parts))
    table.add_row('in the benchmark', *(str(part.published) for part in report.parts),
                  end_section=True)
    for index, name in enumerate(report.classes):
        table.add_row(f'{name} %', *(_percent(part.class_counts[index], part.class_counts[:-1])
                                     for part in report.parts))
    table.add_row('ignored %', *(_percent(part.class_counts[-1], part.class_counts)
                                 for part in report.parts))
    return table


def _percent(count: int, of: Sequence[int]) -> str:
    return f'{100 * count / (sum(of) or 1):.1f}'


# ------------------------------------------------------------------------- output

def _table(*columns: str) -> 'Table':
    from rich.table import Table
    table = Table(box=None, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow='fold')
    return table


def _print(content: object) -> None:
    from rich.console import Console
    Console(highlight=False, markup=False, soft_wrap=isinstance(content, str)).print(content)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar for each thing that is being done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    columns = (TextColumn('{task.description}'), BarColumn(), TextColumn('{task.percentage:3.0f}%'),
               TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True,
                  disable=not console.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=total)

        yield tell
