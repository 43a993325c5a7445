# SPDX-License-Identifier: Apache-2.0
"""Finished rows beside the map, so that an interrupted run goes on where it stopped.

A folder `<map>.resume` holds one file for each part that was finished, and the fingerprint of the
run. Each file appears whole or not at all, and nothing of an unfinished map is ever reused: a
GeoTIFF that was being written when the process died cannot be trusted.
"""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossearth.errors import RasterError
from crossearth.weight_files import write_atomically

__all__ = ['Journal', 'fingerprint']

HEADER = 'run.json'
SUFFIX = '.resume'


def fingerprint(facts: Mapping[str, Any]) -> str:
    """Hash of whatever decides the bytes of a map; values are written as text."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class Journal:
    """The finished parts of one run.

    Parts of a run with another fingerprint are of no use and removed.

    Args:
        output: The map.
        key: Fingerprint of the run.
    """

    def __init__(self, output: Path, key: str) -> None:
        self.folder = output.with_name(output.name + SUFFIX)
        self.key = key

    def tiling(self) -> tuple[int, int] | None:
        """Tile and overlap of the interrupted run in px; None where there is none like this."""
        try:
            header = json.loads((self.folder / HEADER).read_bytes())
            if header['fingerprint'] == self.key:
                return int(header['tile']), int(header['overlap'])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def start(self, tile: int, overlap: int) -> None:
        """Forget all parts, and remember how this run is tiled."""
        self.remove()
        self.folder.mkdir(parents=True)
        header = {'fingerprint': self.key, 'tile': tile, 'overlap': overlap}
        write_atomically(self.folder / HEADER, json.dumps(header).encode())

    def append(
        self, first: int, planes: Mapping[str, np.ndarray], bad_tiles: Sequence[str]
    ) -> None:
        """Keep a part.

        Args:
            first: Its first row.
            planes: Bands of each output by its kind, (bands, rows, width) uint8.
            bad_tiles: Why tiles could not be read, up to here.

        Raises:
            RasterError: It cannot be written.
        """
        arrays: dict[str, Any] = {**planes, 'bad_tiles': np.array(bad_tiles, dtype=str)}
        path = self._part(first)
        temporary = path.with_suffix('.part')
        try:
            with temporary.open('wb') as file:
                np.savez_compressed(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise RasterError(f'{path} cannot be written: {error}. Free space and give --resume '
                              'again, which goes on from here.') from error

    def parts(self, first: int = 0) -> Iterator[tuple[int, dict[str, np.ndarray], list[str]]]:
        """The kept parts from a row on, up to the first that is missing or damaged."""
        while True:
            try:
                with np.load(self._part(first)) as file:
                    planes = dict(file)
                bad_tiles = planes.pop('bad_tiles').tolist()
                rows = next(iter(planes.values())).shape[1]
            except (OSError, ValueError, KeyError, StopIteration, zipfile.BadZipFile):
                return
            yield first, planes, bad_tiles
            first += rows

    def remove(self) -> None:
        """Remove everything, once the map is whole."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _part(self, first: int) -> Path:
        return self.folder / f'rows_{first:09}.npz'
