# SPDX-License-Identifier: Apache-2.0
"""Official downloads -> the prepared layout, one source image after the other in several processes.

    <root>/<split>/<domain>/{images,labels}/NAME.EXT    labels: uint8 PNG of train ids, 255 ignored
    <root>/index.json                                   there only when everything is

Whatever is written gets its name when it is complete, and a source image is noted in a journal when
all of its files are; so a run that was killed goes on where it was.
"""

import contextlib
import errno
import functools
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crossearth.datasets.labels import IGNORE_INDEX
from crossearth.datasets.prepare.archives import find_members
from crossearth.datasets.prepare.encodings import decode_image, decode_label, encode_png
from crossearth.datasets.prepare.journal import DOWNLOADS, Journal, Record
from crossearth.datasets.prepare.plan import Job, plan
from crossearth.datasets.prepare.recipes import Recipe, find_recipe
from crossearth.datasets.prepare.windows import windows
from crossearth.download import download, locked
from crossearth.errors import ConfigError, DataError, suggest

__all__ = ['INDEX', 'Progress', 'cut', 'prepare']

INDEX = 'index.json'
FORMAT = {'format': 'crossearth-prepared', 'version': 1}
SCRATCH = '.prepare.tmp'
MAX_WORKERS = 8

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def prepare(
    name: str,
    sources: Sequence[str | Path],
    destination: str | Path,
    *,
    domains: Sequence[str] = (),
    options: Mapping[str, str] | None = None,
    fetch: bool = False,
    workers: int | None = None,
    window: tuple[int, int] | None = None,
    uncompressed: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Prepare a data set, or what is missing of it.

    Args:
        name: Name of the data set.
        sources: Archives and folders of the official download, `DOMAIN=PATH` where a path does not
            tell the domain.
        destination: Folder of the prepared data set; nothing is written elsewhere.
        domains: Domains to prepare; default all that the data set has.
        options: Options of the recipe; see `Recipe.options`.
        fetch: Download what the recipe has addresses of, into `destination/downloads`.
        workers: Processes; default one for each processor core, 8 at most.
        window: Size and stride of the windows in px, other than those of the benchmark.
        uncompressed: Write PNG files that are larger and read several times as fast. Images that
            the download holds in another format are copied as ever.
        progress: Told how far it is.

    Returns:
        The content of `index.json`.

    Raises:
        ConfigError: The data set, a domain or an option does not exist.
        DataError: The sources or the destination are not what they should be; see `plan`.
        DownloadError: A file cannot be downloaded.
    """
    recipe, root = find_recipe(name), Path(destination)
    recipe = replace(recipe, window=window) if window else recipe
    chosen, told = _domains(recipe, domains), _options(recipe, options or {})
    _require_sources(recipe, sources, fetch)
    header = {'data set': recipe.name, 'window': list(recipe.window or ()), 'options': told,
              'version': FORMAT['version'], **({'uncompressed': True} if uncompressed else {})}
    tell = progress or (lambda what, done, total: None)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / '.prepare.lock'):
            journal = Journal(root, header)
            fetched = _fetch(recipe, root, tell) if fetch else []
            jobs = _plan(recipe, [*sources, *fetched], root, chosen, told, journal, uncompressed)
            _work(jobs, root, journal, workers, tell)
            index = _index(recipe, told, journal)
            _write(json.dumps(index, indent=1).encode() + b'\n', root / INDEX, root)
            shutil.rmtree(root / SCRATCH, ignore_errors=True)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        raise DataError(f'Cannot write {error.filename or root.absolute()}: {error.strerror}. Make '
                        'room, mend the permissions or give another --dst; run again, and what is '
                        'complete is not done again.') from error
    finally:
        with contextlib.suppress(OSError):
            root.rmdir()  # goes only if it is empty, since nothing came of it
    return index


def cut(job: Job, root: Path) -> Record:
    """Do one job: write all images and labels that a source image becomes.

    Args:
        job: The source image.
        root: Folder of the prepared data set.

    Raises:
        DataError: Image or label cannot be read, or their sizes differ.
    """
    encoded = job.image.read()
    image = decode_image(encoded, job.image.path)
    copied = job.window is None and not (job.uncompressed and job.img_suffix == '.png')
    if not copied:
        encoded = b''  # a hundred megabytes for each process
    stored = decode_label(job.label.read(), job.label.path)
    if image.shape[:2] != stored.shape[:2]:
        raise DataError(f'The label {job.label.path} is {stored.shape[1]} x {stored.shape[0]} px, '
                        f'but its image {job.image.path} {image.shape[1]} x {image.shape[0]} px. '
                        'Download both again.')
    ids, off_palette = job.encoding.train_ids(stored, job.label.path)
    if job.ignore_white:
        ids[(image == 255).all(axis=2)] = IGNORE_INDEX
    encode = functools.partial(encode_png, uncompressed=job.uncompressed)
    folder, tiles = root / job.split / job.domain, []
    counts = np.zeros(IGNORE_INDEX + 1, np.int64)
    for stem, (x0, y0, x1, y1) in _tiles(job, ids):
        tile = np.ascontiguousarray(ids[y0:y1, x0:x1])
        pixels = encoded if copied else encode(image[y0:y1, x0:x1])
        _write(pixels, folder / 'images' / (stem + job.img_suffix), root)
        _write(encode(tile), folder / 'labels' / f'{stem}.png', root)
        counts += np.bincount(tile.ravel(), minlength=IGNORE_INDEX + 1)
        tiles.append(stem + job.img_suffix)
    of_classes = [int(count) for count in counts[[*range(job.num_classes), IGNORE_INDEX]]]
    return Record(job.unit, job.stamp, tiles, of_classes, off_palette, job.label.path)


def _tiles(job: Job, ids: np.ndarray) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """Name and corners of each window."""
    height, width = ids.shape
    if job.window is None:
        yield job.name, (0, 0, width, height)
        return
    for corners in windows(width, height, *job.window):
        yield '_'.join([job.name, *map(str, corners)]), corners


def _write(content: bytes, path: Path, root: Path) -> None:
    """Write a file whole or not at all; leftovers of a kill lie in one folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = root / SCRATCH / f'{os.getpid()}-{path.name}'
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(content)
    part.replace(path)


# ------------------------------------------------------------------------- what to do

def _domains(recipe: Recipe, domains: Sequence[str]) -> tuple[str, ...]:
    known = recipe.facts.domains
    for domain in domains:
        if domain not in known:
            raise ConfigError(f"{recipe.name} has no domain '{domain}'.{suggest(domain, known)} "
                              f'It has {", ".join(known)}.')
    return tuple(domains) or known


def _options(recipe: Recipe, given: Mapping[str, str]) -> dict[str, str]:
    """Every option of the recipe with its value."""
    for name, value in given.items():
        if value not in recipe.options.get(name, ()):
            known = ', '.join(f'{name}={"|".join(values)}'
                              for name, values in recipe.options.items()) or 'none'
            raise ConfigError(f'{recipe.name} has no option {name}={value}. Its options: {known}.')
    return {name: given.get(name, values[0]) for name, values in recipe.options.items()}


def _require_sources(recipe: Recipe, sources: Sequence[str | Path], fetch: bool) -> None:
    """Raise, with the way to get them, where there is nothing to prepare from."""
    steps = '\n'.join(f'  {step}' for step in recipe.facts.download.splitlines())
    if fetch and not recipe.downloads:
        raise ConfigError(f'{recipe.facts.title} cannot be downloaded without you. How to get it '
                          f'({recipe.facts.url}):\n{steps}')
    if not sources and not fetch:
        more = ', or --download, which fetches them' if recipe.downloads else ''
        raise ConfigError(f'--src is missing: the archives or folders of {recipe.facts.title}'
                          f'{more}. How to get them ({recipe.facts.url}):\n{steps}')


def _fetch(recipe: Recipe, root: Path, tell: Progress) -> list[Path]:
    found = []
    for url in recipe.downloads:
        name = url.rpartition('/')[2]
        found.append(download(url, root / DOWNLOADS / name, md5=recipe.facts.md5[name],
                              progress=functools.partial(tell, f'download {name}')))
    return found


def _plan(recipe: Recipe, sources: Sequence[str | Path], root: Path, domains: Sequence[str],
          options: Mapping[str, str], journal: Journal, uncompressed: bool) -> list[Job]:
    members = list(find_members(sources, root / SCRATCH, recipe.unneeded, skip=root))
    jobs = plan(recipe, members, domains, options, uncompressed=uncompressed)
    used = {member.source for job in jobs for member in (job.image, job.label)}
    sizes = dict.fromkeys(sorted(used), 0)
    for member in members:
        if member.source in used:  # an archive counts once, and all files of a folder
            sizes[member.source] = member.source_size or sizes[member.source] + member.size
    journal.add_sources(sizes)
    return jobs


def _work(jobs: Sequence[Job], root: Path, journal: Journal, workers: int | None,
          tell: Progress) -> None:
    """Do the jobs that are not done."""
    todo = [job for job in jobs if not journal.holds(job.unit, job.stamp)]
    done = len(jobs) - len(todo)
    if todo:
        # from here on the folder is not what the index says
        (root / INDEX).unlink(missing_ok=True)
    tell('prepare', done, len(jobs))
    for record in _records(todo, root, min(workers or _cores(), len(todo))):
        journal.add(record)
        done += 1
        tell('prepare', done, len(jobs))


def _cores() -> int:
    return min(os.cpu_count() or 1, MAX_WORKERS)


def _records(jobs: Sequence[Job], root: Path, workers: int) -> Iterator[Record]:
    if workers <= 1:
        yield from (cut(job, root) for job in jobs)
        return
    with ProcessPoolExecutor(workers, _context(), initializer=_ignore_interrupt) as pool:
        pending: set[Future[Record]] = {pool.submit(cut, job, root) for job in jobs}
        try:
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        except BrokenProcessPool as error:
            raise DataError('A process was killed while it prepared an image, most likely since '
                            'the memory is full. Run again with fewer --workers; what is complete '
                            'is not done again.') from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _context() -> multiprocessing.context.BaseContext:
    """Processes that import this package once; never a fork of one with threads."""
    if 'forkserver' not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context('spawn')
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([__name__])
    return context


def _ignore_interrupt() -> None:
    """Ctrl-C reaches every process; only the first one answers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


# ------------------------------------------------------------------------- what was done

def _index(recipe: Recipe, options: Mapping[str, str], journal: Journal) -> dict[str, Any]:
    """The content of `index.json`."""
    summary: dict[str, dict[str, dict[str, Any]]] = {}
    for unit, record in sorted(journal.records.items()):
        split, domain, _ = unit.split('/')
        entry = summary.setdefault(split, {}).setdefault(domain, {
            'tiles': 0, 'class_counts': [0] * (len(recipe.facts.classes) + 1), 'off_palette': 0,
            'off_palette_files': {}})
        entry['tiles'] += len(record.tiles)
        entry['class_counts'] = [a + b for a, b in zip(
            entry['class_counts'], record.class_counts, strict=True)]
        entry['off_palette'] += record.off_palette
        if record.off_palette:
            entry['off_palette_files'][record.source] = record.off_palette
    return {
        'name': recipe.name, **FORMAT, 'classes': list(recipe.facts.classes), 'ids': 'train',
        'img_suffix': recipe.img_suffix, 'window': list(recipe.window or ()),
        'sources': [{'file': file, 'size': size} for file, size in journal.sources.items()],
        'options': dict(options), 'summary': summary}
