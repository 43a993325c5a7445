# SPDX-License-Identifier: Apache-2.0
"""Find the reports of tests in work folders, each with the facts that its numbers are traced by."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossearth.errors import DataError

from .record import DomainReport
from .report import report_from_dict

__all__ = ['Run', 'find_runs', 'read_runs']


@dataclass(frozen=True)
class Run:
    """One test of one checkpoint.

    Args:
        path: The file of the report.
        report: The report.
        config: Name of the config.
        config_sha256: Hash of the config.
        checkpoint: Name of the checkpoint.
        checkpoint_sha256: Hash of the checkpoint.
        method: Name of the method.
        seed: Seed of the training; None where the checkpoint does not tell it.
        baselines: Reports of baselines on the same images, by name.
    """

    path: Path
    report: DomainReport
    config: str
    config_sha256: str
    checkpoint: str
    checkpoint_sha256: str
    method: str
    seed: int | None
    baselines: Mapping[str, DomainReport]

    def origin(self) -> dict[str, Any]:
        """Where a number of this run comes from, as plain data."""
        return {
            'seed': self.seed, 'report': self.path.as_posix(), 'config': self.config,
            'config_sha256': self.config_sha256, 'checkpoint': self.checkpoint,
            'checkpoint_sha256': self.checkpoint_sha256}


def find_runs(places: Sequence[Path]) -> tuple[list[Run], dict[Path, str]]:
    """Read every `report.json` in or below the given folders.

    Args:
        places: Work folders, or reports themselves.

    Returns:
        The runs in the order of their paths, and the files that are left out with the reason.

    Raises:
        DataError: A place does not exist.
    """
    files: dict[Path, Path] = {}  # one folder may lie in another that is given too
    for place in places:
        if not place.exists():
            raise DataError(
                f'{place} does not exist. Give work folders of tests, such as work_dirs.')
        found = [place] if place.is_file() else sorted(place.rglob('report.json'))
        files |= {path.resolve(): path for path in found}
    runs, skipped = [], {}
    for path in files.values():
        try:
            runs.append(_read(path))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            skipped[path] = _reason(error)
    return runs, skipped


def read_runs(places: Sequence[Path]) -> tuple[list[Run], dict[Path, str]]:
    """Read as `find_runs` does, where there must be something to report.

    Raises:
        DataError: A place does not exist, or there is no report of a test.
    """
    runs, skipped = find_runs(places)
    if not runs:
        raise DataError(
            f"no report of a test in {', '.join(map(str, places))}. Test a checkpoint first: "
            'python tools/test.py CONFIG CHECKPOINT')
    return runs, skipped


def _read(path: Path) -> Run:
    data = json.loads(path.read_text(encoding='utf-8'))
    report = report_from_dict(data)
    facts = data.get('run', {})
    # a number that cannot be traced is in no table
    if missing := [key for key in ('config_sha256', 'checkpoint_sha256') if not facts.get(key)]:
        raise _UntraceableError(
            f"it names no {' and no '.join(missing)}; test the checkpoint again with tools/test.py")
    return Run(
        path=path, report=report, config=facts['config'], config_sha256=facts['config_sha256'],
        checkpoint=facts['checkpoint'], checkpoint_sha256=facts['checkpoint_sha256'],
        method=facts['method'], seed=facts['seed'],
        baselines={name: report_from_dict(row) for name, row in data.get('baselines', {}).items()})


class _UntraceableError(ValueError):
    """A report does not say which run it belongs to."""


def _reason(error: Exception) -> str:
    if isinstance(error, _UntraceableError):
        return str(error)
    return f'it is no report of a test ({type(error).__name__}: {error})'
