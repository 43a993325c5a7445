# SPDX-License-Identifier: Apache-2.0
"""Many trainings with their tests: each in a process of its own, none done twice.

A run is known by its config. What was interrupted goes on, what is finished with this very config
is left alone, and what another config left in the folder is set aside.
"""

import itertools
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from crossearth.errors import CrossEarthError
from crossearth.weight_files import write_atomically

from .checkpoint_files import list_checkpoints
from .complete import complete_config
from .run_facts import config_facts, machine_facts

__all__ = ['Trial', 'costs', 'plan_trial', 'run_all', 'stretch_schedule', 'what_is_left']

DONE, FAILED, LEFT = 'done', 'failed', 'left'


@dataclass(frozen=True)
class Trial:
    """One cell of a table with one seed.

    Args:
        cell: Name of the row.
        seed: Seed of all random numbers.
        folder: Work folder.
        config: Text of the config: formatting one takes a second.
        iters: Iterations of the training.
        source: What it is trained on, where the tables are of several sources.
        record: Where its result is kept beside the tables, so that another checkout of the project
            has it too; None for nowhere.
        config_sha256: Of all in the completed config that makes the experiment, but the seed: what
            the training writes into its checkpoints and so into reports (see `config_facts`).
    """

    cell: str
    seed: int
    folder: Path
    config: str
    iters: int
    source: str = ''
    record: Path | None = None
    config_sha256: str = ''

    @property
    def title(self) -> str:
        """How a reader calls it."""
        return ', '.join(filter(None, (self.source, self.cell, f'seed {self.seed}')))

    @property
    def config_file(self) -> Path:
        """The config of what lies in the folder, once a run has begun.

        Beside it: the training writes the config it has completed into the folder.
        """
        return self.folder.with_suffix('.py')

    @property
    def report(self) -> Path:
        """What the test leaves."""
        return self.folder / 'report.json'

    @property
    def log(self) -> Path:
        """What the processes print."""
        return self.folder / 'log.txt'

    @property
    def checkpoint(self) -> Path:
        """The last iteration, the only one that is tested."""
        return self.folder / f'iter_{self.iters}.pth'

    def begun(self) -> bool:
        """Whether the folder holds a run of this very config."""
        return (self.config_file.is_file()
                and self.config_file.read_text() == self.config)

    def finished(self) -> bool:
        """Whether this very config has been trained and tested, here or by what is recorded."""
        return self.recorded() or (self.begun() and self.report.is_file())

    def recorded(self) -> bool:
        """Whether a result of this very config is kept beside the tables."""
        return (self.record is not None and self.record.is_file()
                and json.loads(self.record.read_text()).get('run', {}).get('config_sha256')
                == self.config_sha256)

    @property
    def result(self) -> Path:
        """The report of a finished run."""
        return self.record if self.record is not None and self.recorded() else self.report

    def facts(self) -> dict[str, Any]:
        """What a finished run cost (see `costs`), and where, when and with which commit it ran."""
        told: dict[str, Any] = json.loads(self.result.read_text()).get('trial', {})
        return told or costs(self.folder)

    def keep(self) -> None:
        """Write the facts into the report, and keep it beside the tables."""
        report = json.loads(self.report.read_text())
        report['trial'] = {**costs(self.folder), **machine_facts()}
        for place in filter(None, (self.report, self.record)):
            place.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(place, f'{json.dumps(report)}\n'.encode())


def plan_trial(
    cell: str, seed: int, config: Config, out: Path, iters: int | None = None, source: str = '',
    records: Path | None = None,
) -> Trial:
    """Make a run of a config.

    Args:
        cell: Name of the row.
        seed: Seed of the run; the config has it already.
        config: A checked config; its schedule is stretched in place.
        out: Folder of all runs.
        iters: Iterations; None leaves the config's.
        source: Name of its source, where there are several: a folder in `out`.
        records: Folder of all results that are kept; None for nowhere.
    """
    if iters:
        stretch_schedule(config, iters)
    place = Path(source, re.sub(r'[^\w.=+-]+', '_', cell), f'seed{seed}')
    return Trial(cell, seed, out / place, config.pretty_text, config.train_cfg.max_iters, source,
                 records and (records / place).with_suffix('.json'),
                 config_facts(complete_config(config))['config_sha256'])


def stretch_schedule(config: Config, iters: int) -> None:
    """Train for `iters` iterations with a learning rate of the same shape."""
    factor = iters / config.train_cfg.max_iters
    config.train_cfg.max_iters = iters
    for scheduler in config.get('param_scheduler') or ():
        for key in ('begin', 'end'):
            if scheduler.get(key):
                scheduler[key] = max(1, round(scheduler[key] * factor))


def run_all(
    runs: Sequence[Trial], tools: Path, after_each: Callable[[str], None], jobs: int = 1,
    minutes: float | None = None,
) -> list[Trial]:
    """Carry out what is missing, in the order of the runs.

    Args:
        runs: The runs.
        tools: Folder of `train.py` and `test.py`.
        after_each: Called after each run with a line that says how it went; not for finished ones.
        jobs: Processes at a time; they share the cores.
        minutes: After these no further run begins; None for no end.

    Returns:
        The runs that have not begun because time was up.

    Raises:
        CrossEarthError: Some runs failed; the others are done.
    """
    end = math.inf if minutes is None else time.monotonic() + 60 * minutes
    missing = [run for run in runs if not run.finished()]
    failed, left, number = [], [], len(runs) - len(missing)
    with ThreadPoolExecutor(jobs) as pool:
        started = {pool.submit(_timed, run, tools, jobs, end): run for run in missing}
        for future in as_completed(started):
            run, (outcome, seconds) = started[future], future.result()
            if outcome == LEFT:
                left.append(run)
                continue
            number += 1
            if outcome == FAILED:
                failed.append(run)
            after_each(f'[{number}/{len(runs)}] {run.title}: {outcome} ({seconds:.0f} s)')
    if failed:
        raise CrossEarthError(
            f'{len(failed)} of {len(runs)} runs failed: '
            f"{', '.join(str(run.log) for run in failed)} say why. Mend the cause and give the "
            'same command again; finished runs are kept.')
    return [run for run in runs if run in left]


def what_is_left(left: Sequence[Trial], runs: Sequence[Trial]) -> str:
    """Say what `run_all` has left.

    Args:
        left: What it gave, not empty.
        runs: All runs.
    """
    return (f'Time is up: {len(left)} of {len(runs)} runs are left, next {left[0].title}. '
            'The same command goes on with them.')


def _timed(run: Trial, tools: Path, jobs: int, end: float) -> tuple[str, float]:
    started = time.monotonic()
    if started >= end:
        return LEFT, 0
    return _carry_out(run, tools, jobs), time.monotonic() - started


def _carry_out(run: Trial, tools: Path, jobs: int) -> str:
    """Train and test, as far as it has not been done with this very config."""
    if not run.begun():
        if run.folder.exists():
            run.folder.rename(_unused(run.folder))
        run.folder.mkdir(parents=True)
        run.config_file.write_text(run.config)
    found = list_checkpoints(run.folder)
    if run.checkpoint in found:
        command = ['test.py', run.config_file, run.checkpoint]
    else:
        command = ['train.py', run.config_file, *(['--resume'] if found else [])]  # it tests, too
    threads = {'OMP_NUM_THREADS': str(max(1, (os.cpu_count() or 1) // jobs))} if jobs > 1 else {}
    with run.log.open('a') as log:
        done = subprocess.run(
            [sys.executable, str(tools / str(command[0])), *map(str, command[1:]),
             '--work-dir', str(run.folder)],
            stdout=log, stderr=subprocess.STDOUT, check=False, env={**os.environ, **threads})
    if done.returncode:
        return FAILED
    run.keep()
    return DONE


def _unused(folder: Path) -> Path:
    """A name beside a folder that nothing has yet."""
    names = (folder.with_name(f'{folder.name}.old{number}') for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def costs(folder: Path) -> dict[str, float]:
    """What a training cost, by its own log.

    Args:
        folder: Its work folder; it may have been interrupted and resumed.

    Returns:
        `seconds` of an iteration, the median of the logged means, and `memory_mb`, the peak. Empty
        where nothing was logged.
    """
    lines: list[dict[str, Any]] = [
        json.loads(line) for path in sorted(folder.glob('*/vis_data/scalars.json'))
        for line in path.read_text().splitlines()]
    seconds = [line['time'] for line in lines if 'time' in line and 'loss' in line]
    memory = [line['memory'] for line in lines if 'memory' in line]
    return {**({'seconds': statistics.median(seconds)} if seconds else {}),
            **({'memory_mb': max(memory)} if memory else {})}
