# SPDX-License-Identifier: Apache-2.0
"""Many scenes on a Ray cluster: each worker loads the model once, and one that dies is replaced.

What Ray knows is a class with the model inside. Which scene runs where, what is tried again and
what is given up is decided here, so that the manifest can tell it.
"""

import json
import logging
import os
import platform
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from crossearth.errors import ConfigError, CrossEarthError, MissingDependencyError
from crossearth.inference.bands import predict_band, start_bands
from crossearth.inference.pipeline import PredictionReport
from crossearth.inference.predictor import Predictor
from crossearth.inference.scene import SceneOptions, finish_scene, predict_scene
from crossearth.weight_files import file_sha256, write_atomically

__all__ = ['Job', 'Outcome', 'predict_scenes', 'write_manifest']

ATTEMPTS = 3
CPUS = 4  # of a worker without a graphics card, where nobody says how many workers there are

Gauge = Callable[[str, SceneOptions], dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """A scene to map; every machine of the cluster finds its paths.

    Args:
        source: The scene.
        output: The map.
        options: How.
    """

    source: str
    output: Path
    options: SceneOptions


@dataclass(frozen=True)
class Outcome:
    """What became of a scene: a line of the manifest.

    Args:
        scene: The scene.
        output: The map.
        status: `done`, `skipped` (finished by an earlier run) or `failed`.
        seconds: From its first start to its end.
        worker: Machine and process that ended it.
        attempts: Most tries that a part of it took; more than 1 where a worker died.
        sha256: Of the map.
        error: Why it failed.
        outputs: The files by kind.
        report: What the run did, where this run made the map.
        gap: How far the scene is from the training domain, where that was asked for.
    """

    scene: str
    output: str
    status: str
    seconds: float
    worker: str = ''
    attempts: int = 1
    sha256: str = ''
    error: str = ''
    outputs: Mapping[str, str] = field(default_factory=dict)
    report: PredictionReport | None = None
    gap: Mapping[str, Any] | None = None


def write_manifest(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Write a line of JSON for each scene, the whole file at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, ''.join(
        json.dumps(asdict(outcome)) + '\n' for outcome in outcomes).encode())


def predict_scenes(
    jobs: Sequence[Job],
    load: Callable[[], Predictor],
    *,
    gauge: Callable[[Predictor], Gauge] | None = None,
    address: str | None = None,
    workers: int | None = None,
    split_rows: int | None = None,
    graphics: bool = True,
) -> Iterator[Outcome]:
    """Map scenes on a cluster.

    Args:
        jobs: The scenes.
        load: Makes the network; called once by each worker.
        gauge: Makes what measures the gap of a scene; None leaves that out.
        address: Of a running cluster, or `auto`; None starts one on this machine, or takes the one
            that this process is connected to.
        workers: How many; None for one on each graphics card, or on every 4 CPUs without one.
        split_rows: Rows of the bands that a scene is cut into; 0 leaves scenes whole; None cuts a
            lone scene into a band for each worker. The map has the same bytes in any case.
        graphics: Whether the network runs on a graphics card where there is one.

    Yields:
        What became of each scene, in the order in which they end.

    Raises:
        MissingDependencyError: Ray is not installed.
        CrossEarthError: There is no such cluster, or no worker can load the model.
    """
    ray = _import_ray()
    with _connected(ray, address):
        number, share = _shares(ray, workers, graphics)
        parts = number if split_rows is None and len(jobs) == 1 else 1
        pool = _Pool(ray, number, share, (load, gauge))
        try:
            yield from _Schedule(jobs, split_rows, parts).run(pool)
        finally:
            pool.stop()


# ------------------------------------------------------------------------- on a worker

@dataclass(frozen=True)
class _Answer:
    """What a step of a worker gave, or why it failed."""

    value: Any = None
    error: str = ''
    worker: str = ''


class _Worker:
    """The model on a machine of the cluster."""

    def __init__(
        self, load: Callable[[], Predictor], gauge: Callable[[Predictor], Gauge] | None
    ) -> None:
        self.make = load, gauge

    def load(self) -> None:
        """Load the model: apart from `__init__`, so that its errors come back as they are."""
        load, gauge = self.make
        self.predictor = load()
        self.measure = gauge(self.predictor) if gauge else None

    def run(self, step: str, job: Job, *arguments: Any) -> _Answer:
        """Do a step; whatever goes wrong concerns its scene only."""
        name = f'{platform.node()}:{os.getpid()}'
        try:
            return _Answer(getattr(self, step)(job, *arguments), worker=name)
        except CrossEarthError as error:
            return _Answer(error=str(error), worker=name)
        except Exception as error:  # a bug, or a broken machine: its traceback is in Ray's logs
            traceback.print_exc(file=sys.stderr)
            return _Answer(error=f'{type(error).__name__}: {error}', worker=name)

    def start(self, job: Job, rows: int | None, parts: int) -> list[tuple[int, int]]:
        """Cut a scene into bands; one that is finished has none."""
        if finish_scene(job.output, self.predictor, job.options):
            return []
        return start_bands(job.source, self.predictor, job.output, job.options, rows=rows,
                           parts=parts)

    def band(self, job: Job, band: tuple[int, int]) -> None:
        """Map a band."""
        predict_band(job.source, self.predictor, job.output, job.options, band)

    def finish(self, job: Job, split: bool, again: bool) -> dict[str, Any]:
        """Map a scene, or put its bands together; the outcome's fields.

        Args:
            job: The scene.
            split: Its bands are in the journal.
            again: A worker died on it, and may have finished the map before.
        """
        options = job.options
        files = finish_scene(
            job.output, self.predictor, replace(options, resume=options.resume or again))
        found: dict[str, Any] = {'status': 'done' if again else 'skipped', 'outputs': files}
        if not files:
            report = predict_scene(job.source, self.predictor, job.output, replace(
                options, resume=options.resume or split))
            found = {'status': 'done', 'outputs': report.outputs, 'report': report}
        if self.measure:
            found['gap'] = self.measure(job.source, options)
        return {**found, 'sha256': file_sha256(job.output)}


# ------------------------------------------------------------------------- on the driver

@dataclass(eq=False)
class _Scene:
    """A scene on its way."""

    job: Job
    fresh: bool  # nothing lay under the map's name before
    started: float | None = None
    attempts: int = 1
    bands: int = 0  # that are not done yet
    ended: bool = False

    def end(self, **fields: Any) -> Outcome:
        """Its outcome."""
        self.ended = True
        return Outcome(scene=self.job.source, output=str(self.job.output), attempts=self.attempts,
                       seconds=round(time.monotonic() - (self.started or 0), 3), **fields)


@dataclass(frozen=True)
class _Task:
    """A step of a scene."""

    scene: _Scene
    step: str
    arguments: tuple[Any, ...] = ()
    attempts: int = 1


class _Schedule:
    """Which step comes next, and what follows from its answer."""

    def __init__(self, jobs: Sequence[Job], rows: int | None, parts: int) -> None:
        scenes = [_Scene(job, not job.output.exists()) for job in jobs]
        self.split = bool(rows) or parts > 1
        self.tasks = deque(
            _Task(scene, 'start', (rows, parts)) if self.split else _Task(scene, 'finish')
            for scene in scenes)

    def run(self, pool: '_Pool') -> Iterator[Outcome]:
        """Work until every scene has ended."""
        while self.tasks or pool.working:
            while self.tasks and pool.idle:
                self._submit(self.tasks.popleft(), pool)
            if not (self.tasks or pool.working):  # what was left belonged to scenes that failed
                return
            task, answer = pool.wait()
            if task and not task.scene.ended:
                yield from self._follow(task, answer)

    def _submit(self, task: _Task, pool: '_Pool') -> None:
        scene = task.scene
        if scene.ended:
            return
        scene.started = scene.started or time.monotonic()
        arguments = task.arguments
        if task.step == 'finish':
            arguments = (self.split, task.attempts > 1 and scene.fresh)
        pool.submit(task, task.step, scene.job, *arguments)

    def _follow(self, task: _Task, answer: _Answer | None) -> Iterator[Outcome]:
        scene = task.scene
        if answer is None:  # the worker died
            if task.attempts == ATTEMPTS:
                yield scene.end(status='failed', error=(
                    f'its worker died {ATTEMPTS} times. The memory may be too small: give fewer '
                    '--ray-workers, a smaller --batch or --tile.'))
                return
            self.tasks.appendleft(replace(task, attempts=task.attempts + 1))
            scene.attempts = max(scene.attempts, task.attempts + 1)
        elif answer.error:
            yield scene.end(status='failed', error=answer.error, worker=answer.worker)
        elif task.step == 'finish':
            yield scene.end(worker=answer.worker, **answer.value)
        else:
            bands = answer.value if task.step == 'start' else []
            scene.bands += len(bands) if task.step == 'start' else -1
            self.tasks.extend(_Task(scene, 'band', (band,)) for band in bands)
            if not scene.bands:
                self.tasks.appendleft(_Task(scene, 'finish'))


class _Pool:
    """The workers; those for which the cluster has no room yet are waited for without harm."""

    def __init__(
        self, ray: Any, number: int, share: Mapping[str, float], arguments: tuple[Any, ...]
    ) -> None:
        self.ray = ray
        self.remote = ray.remote(_Worker).options(**share)
        self.arguments = arguments
        self.idle: list[Any] = []
        self.busy: dict[Any, tuple[Any, _Task | None]] = {}
        self.stillborn = 0
        for _ in range(number):
            self._start()

    @property
    def working(self) -> bool:
        """Whether a task is on its way."""
        return any(task for _, task in self.busy.values())

    def submit(self, task: _Task, step: str, *arguments: Any) -> None:
        """Give a task to an idle worker."""
        worker = self.idle.pop()
        self.busy[worker.run.remote(step, *arguments)] = worker, task

    def wait(self) -> tuple[_Task | None, _Answer | None]:
        """Wait for a worker: its task, None if it was starting; its answer, None if it died."""
        (done, *_), _ = self.ray.wait(list(self.busy), num_returns=1)
        worker, task = self.busy.pop(done)
        try:
            answer = self.ray.get(done)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None  # only `load` lets errors through
        except self.ray.exceptions.RayError:
            self.ray.kill(worker)  # if only the line to it broke, it must not go on either
            self._bury(task)
            return task, None
        self.stillborn = 0
        self.idle.append(worker)
        return task, answer

    def stop(self) -> None:
        """End all workers."""
        for worker in (*self.idle, *(worker for worker, _ in self.busy.values())):
            self.ray.kill(worker)

    def _start(self) -> None:
        worker = self.remote.remote(*self.arguments)
        self.busy[worker.load.remote()] = worker, None

    def _bury(self, task: _Task | None) -> None:
        self.stillborn += task is None
        if self.stillborn == ATTEMPTS:
            raise ConfigError(
                f'{ATTEMPTS} workers in a row died while they loaded the model. The memory may be '
                'too small: give fewer --ray-workers; the logs of Ray say more.')
        self._start()


def _shares(
    ray: Any, workers: int | None, graphics: bool
) -> tuple[int, dict[str, float]]:
    """Number of workers, and what each of them takes of a machine."""
    nodes = [node['Resources'] for node in ray.nodes() if node['Alive']]
    cpus = [int(node.get('CPU', 0)) for node in nodes]
    cards = int(sum(node.get('GPU', 0) for node in nodes)) if graphics else 0
    number = workers or cards or max(1, sum(cpus) // CPUS)
    # as many CPUs as leave room for all, if machines are alike
    share: dict[str, float] = {'num_cpus': max(1, max(cpus) // -(-number // len(nodes)))}
    if cards:
        share['num_gpus'] = 1 / -(-number // cards)
    return number, share


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Connect to a cluster, unless this process is connected already."""
    if ray.is_initialized():
        yield
        return
    local = {} if address else {'include_dashboard': False}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).partition('\n')[0]
        raise ConfigError(f'No Ray cluster can be used at {address or "this machine"} ({reason}). '
                          'Start one with ray start --head, or leave --ray-address out.') from error
    try:
        yield
    finally:
        ray.shutdown()


def _import_ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise MissingDependencyError("running on a Ray cluster needs the package ray. Run: pip "
                                     "install 'crossearth[scale]'.") from error
    return ray
