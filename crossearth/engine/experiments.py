# SPDX-License-Identifier: Apache-2.0
"""Many trainings with their tests: each in a process of its own, none done twice.

A run is known by its config. What was interrupted goes on, what is finished with this very config
is left alone, and what another config left in the folder is set aside.
"""

import itertools
import json
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

from .checkpoint_files import list_checkpoints

__all__ = ['Trial', 'carry_out', 'costs', 'plan_trial', 'run_all', 'stretch_schedule']


@dataclass(frozen=True)
class Trial:
    """One cell of a table with one seed.

    Args:
        cell: Name of the row.
        seed: Seed of all random numbers.
        folder: Work folder.
        config: Text of the config: formatting one takes a second.
        iters: Iterations of the training.
    """

    cell: str
    seed: int
    folder: Path
    config: str
    iters: int

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
        """Whether this very config has been trained and tested."""
        return self.begun() and self.report.is_file()


def plan_trial(cell: str, seed: int, config: Config, out: Path, iters: int | None = None) -> Trial:
    """Make a run of a config.

    Args:
        cell: Name of the row.
        seed: Seed of the run; the config has it already.
        config: A checked config; its schedule is stretched in place.
        out: Folder of all runs.
        iters: Iterations; None leaves the config's.
    """
    if iters:
        stretch_schedule(config, iters)
    folder = out / re.sub(r'[^\w.=+-]+', '_', cell) / f'seed{seed}'
    return Trial(cell, seed, folder, config.pretty_text, config.train_cfg.max_iters)


def stretch_schedule(config: Config, iters: int) -> None:
    """Train for `iters` iterations with a learning rate of the same shape."""
    factor = iters / config.train_cfg.max_iters
    config.train_cfg.max_iters = iters
    for scheduler in config.get('param_scheduler') or ():
        for key in ('begin', 'end'):
            if scheduler.get(key):
                scheduler[key] = max(1, round(scheduler[key] * factor))


def run_all(
    runs: Sequence[Trial], tools: Path, after_each: Callable[[str], None], jobs: int = 1
) -> None:
    """Carry out what is missing.

    Args:
        runs: The runs.
        tools: Folder of `train.py` and `test.py`.
        after_each: Called after each run with a line that says how it went.
        jobs: Processes at a time; they share the cores.

    Raises:
        CrossEarthError: Some runs failed; the others are done.
    """
    failed = []
    with ThreadPoolExecutor(jobs) as pool:
        started = {pool.submit(_timed, run, tools, jobs): run for run in runs}
        for number, future in enumerate(as_completed(started), 1):
            run, (outcome, seconds) = started[future], future.result()
            if outcome == 'failed':
                failed.append(run)
            after_each(f'[{number}/{len(runs)}] {run.cell}, seed {run.seed}: {outcome} '
                       f'({seconds:.0f} s)')
    if failed:
        raise CrossEarthError(
            f'{len(failed)} of {len(runs)} runs failed: '
            f"{', '.join(str(run.log) for run in failed)} say why. Mend the cause and give the "
            'same command again; finished runs are kept.')


def _timed(run: Trial, tools: Path, jobs: int) -> tuple[str, float]:
    started = time.perf_counter()
    return carry_out(run, tools, jobs), time.perf_counter() - started


def carry_out(run: Trial, tools: Path, jobs: int = 1) -> str:
    """Train and test, as far as it has not been done with this very config.

    Args:
        run: The run.
        tools: Folder of `train.py` and `test.py`.
        jobs: Processes that share the cores.

    Returns:
        `done`, `done before` or `failed`.
    """
    if run.finished():
        return 'done before'
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
    return 'done' if done.returncode == 0 else 'failed'


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
