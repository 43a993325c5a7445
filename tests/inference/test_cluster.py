# SPDX-License-Identifier: Apache-2.0
"""What is done when workers die, without a cluster; tests/cli/test_predict_cluster.py has one."""

import json
import sys
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import pytest
from inference.bundles import tiny_bundle
from inference.rasters import rgb, write_raster

from crossearth.errors import BundleError, ConfigError, MissingDependencyError
from crossearth.inference.cluster import (
    Job,
    Outcome,
    _Answer,
    _Pool,
    _Schedule,
    _shares,
    _Worker,
    predict_scenes,
    write_manifest,
)
from crossearth.inference.scene import SceneOptions, load_model, predict


class FakePool:
    """Works at once, in this process; `deaths` holds steps on which the worker dies, in order."""

    def __init__(self, workers: int, deaths: list[str] = (), after: bool = False) -> None:
        self.idle = list(range(workers))
        self.busy: deque = deque()
        self.deaths = list(deaths)
        self.after = after
        self.steps: list[str] = []

    @property
    def working(self) -> bool:
        return bool(self.busy)

    def submit(self, task, step, *arguments) -> None:
        self.busy.append((self.idle.pop(), task, step, arguments))

    def wait(self):
        worker, task, step, arguments = self.busy.popleft()
        self.idle.append(worker)
        self.steps.append(step)
        dies = self.deaths[:1] == [step]
        answer = None if dies and not self.after else self.answer(step, *arguments)
        if dies:
            self.deaths.pop(0)
            return task, None
        return task, answer

    def answer(self, step, job, *arguments) -> _Answer:
        if 'bad' in job.source:
            return _Answer(error='cannot be opened', worker='w')
        value = {'start': [(0, 5), (5, 9)], 'band': None, 'finish': {'status': 'done'}}[step]
        return _Answer(value, worker='w')


class RealPool(FakePool):
    """With the steps of a real worker."""

    def __init__(self, bundle: Path, **options) -> None:
        super().__init__(2, **options)
        self.worker = _Worker(lambda: load_model(bundle, device='cpu'), None)
        self.worker.load()

    def answer(self, step, job, *arguments) -> _Answer:
        return self.worker.run(step, job, *arguments)


def jobs(folder: Path, *names: str) -> list[Job]:
    return [Job(str(folder / f'{name}.tif'), folder / 'maps' / f'{name}.tif', SceneOptions())
            for name in names]


def work(pool: FakePool, todo: list[Job], rows=None, parts=1) -> dict[str, Outcome]:
    found = list(_Schedule(todo, rows, parts).run(pool))
    assert len(found) == len(todo)
    return {Path(outcome.scene).stem: outcome for outcome in found}


# ------------------------------------------------------------------------- the schedule

@pytest.mark.parametrize('workers', [1, 2, 5])
def test_a_worker_that_dies_costs_an_attempt_and_nothing_else(tmp_path, workers):
    found = work(FakePool(workers, ['finish', 'finish']), jobs(tmp_path, 'a', 'b', 'bad', 'c'))
    assert {name: outcome.status for name, outcome in found.items()} == {
        'a': 'done', 'b': 'done', 'c': 'done', 'bad': 'failed'}
    assert sum(outcome.attempts for outcome in found.values()) == 4 + 2
    assert found['bad'].error == 'cannot be opened'


def test_a_scene_that_kills_every_worker_is_given_up(tmp_path):
    found = work(FakePool(1, ['finish'] * 3), jobs(tmp_path, 'a', 'b'))
    assert (found['a'].status, found['a'].attempts) == ('failed', 3)
    assert 'died 3 times' in found['a'].error
    assert (found['b'].status, found['b'].attempts) == ('done', 1)


def test_bands_are_put_together_when_the_last_is_done(tmp_path):
    pool = FakePool(3, ['band', 'band'])
    found = work(pool, jobs(tmp_path, 'a'), rows=5)
    assert found['a'].status == 'done'
    assert pool.steps == ['start', 'band', 'band', 'band', 'band', 'finish']
    assert found['a'].attempts == 2  # one band each
    pool = FakePool(3)
    assert work(pool, jobs(tmp_path, 'bad', 'a'), parts=2)['bad'].status == 'failed'
    assert pool.steps == ['start', 'start', 'band', 'band', 'finish']


def test_bands_of_a_scene_that_failed_are_not_made(tmp_path):
    pool = FakePool(2)
    pool.answer = lambda step, job, *_: (
        _Answer([(0, 1), (1, 2), (2, 3)]) if step == 'start' else _Answer(error='unreadable'))
    found = work(pool, jobs(tmp_path, 'a'), rows=1)
    assert found['a'].error == 'unreadable'
    assert pool.steps == ['start', 'band', 'band']  # of three; two were on their way


# ------------------------------------------------------------------------- the steps

@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp('bundle'))


@pytest.fixture
def scene(tmp_path, bundle):
    path = write_raster(tmp_path / 'a.tif', rgb(150, 70))
    predict(path, bundle, tmp_path / 'once.tif')
    return path


@pytest.mark.parametrize('rows', [None, 64])
@pytest.mark.parametrize('after', [False, True])  # the step itself was done
def test_a_step_may_be_done_twice(scene, bundle, tmp_path, rows, after):
    steps = ['start', 'band', 'finish'] if rows else ['finish']
    for step in steps:
        pool = RealPool(bundle, deaths=[step], after=after)
        (outcome,) = work(pool, jobs(tmp_path, 'a'), rows=rows).values()
        assert (outcome.status, outcome.attempts) == ('done', 2)
        path = Path(outcome.output)
        assert path.read_bytes() == (tmp_path / 'once.tif').read_bytes()
        assert not list(path.parent.glob('*.resume'))
        path.unlink()


def test_a_map_that_was_there_before_is_not_taken_for_ours(scene, bundle, tmp_path):
    (job,) = jobs(tmp_path, 'a')
    predict(scene, bundle, job.output, batch=1)
    (outcome,) = work(RealPool(bundle, deaths=['finish']), [job]).values()
    assert outcome.status == 'failed'
    assert '--overwrite' in outcome.error
    (resumed,) = work(RealPool(bundle), [
        Job(job.source, job.output, SceneOptions(resume=True))], rows=64).values()
    assert resumed.status == 'skipped'


def test_a_bug_is_the_matter_of_its_scene(bundle, scene, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr('crossearth.inference.cluster.predict_scene', lambda *_: 1 / 0)
    (outcome,) = work(RealPool(bundle), jobs(tmp_path, 'a')).values()
    assert outcome.error == 'ZeroDivisionError: division by zero'
    assert 'Traceback' in capfd.readouterr().err


# ------------------------------------------------------------------------- around it

class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        self.cause = cause


class FakeRay:
    """What `_Pool` and `_shares` need of Ray; `answers` holds what workers give, in order."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, *nodes: dict[str, float], answers: list[object] = ()) -> None:
        self.nodes = lambda: [{'Alive': bool(node), 'Resources': node} for node in nodes]
        self.answers = list(answers)
        self.started = 0
        self.killed: list[object] = []
        self.kill = self.killed.append

    def remote(self, _: type) -> SimpleNamespace:
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self.start))

    def start(self, *_: object) -> SimpleNamespace:
        self.started += 1
        call = SimpleNamespace(remote=lambda *_: object())
        return SimpleNamespace(load=call, run=call)

    def wait(self, refs: list[object], num_returns: int) -> tuple[list[object], list[object]]:
        return refs[:num_returns], refs[num_returns:]

    def get(self, _: object) -> object:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_worker_that_dies_is_replaced_and_killed_for_good():
    ray = FakeRay(answers=[None, RayError(), None])
    pool = _Pool(ray, 1, {}, ())
    assert pool.wait() == (None, None)  # loaded
    task = object()
    pool.submit(task, 'finish')
    assert pool.working
    assert not pool.idle
    assert pool.wait() == (task, None)
    assert (ray.started, len(ray.killed), pool.working) == (2, 1, False)
    pool.wait()
    assert len(pool.idle) == 1
    pool.stop()
    assert len(ray.killed) == 2


def test_workers_that_die_while_they_load_are_given_up():
    dead = [RayError()] * 3
    pool = _Pool(FakeRay(answers=[*dead[1:], None, *dead]), 2, {}, ())
    for _ in range(5):
        pool.wait()
    with pytest.raises(ConfigError, match=r'3 workers in a row .* fewer --ray-workers'):
        pool.wait()


def test_a_model_that_cannot_be_loaded_ends_the_run_with_its_own_error():
    pool = _Pool(FakeRay(answers=[RayTaskError(BundleError('no weights'))]), 1, {}, ())
    with pytest.raises(BundleError, match='no weights'):
        pool.wait()


@pytest.mark.parametrize(('nodes', 'workers', 'graphics', 'expected'), [
    ([{'CPU': 2}], None, True, (1, {'num_cpus': 2})),
    ([{'CPU': 16}], None, True, (4, {'num_cpus': 4})),
    ([{'CPU': 2}], 5, True, (5, {'num_cpus': 1})),
    ([{'CPU': 8}, {}, {'CPU': 8}], 3, True, (3, {'num_cpus': 4})),
    ([{'CPU': 16, 'GPU': 2}], None, True, (2, {'num_cpus': 8, 'num_gpus': 1})),
    ([{'CPU': 16, 'GPU': 2}], 3, True, (3, {'num_cpus': 5, 'num_gpus': 0.5})),
    ([{'CPU': 16, 'GPU': 2}], None, False, (4, {'num_cpus': 4})),
])
def test_workers_share_the_machines(nodes, workers, graphics, expected):
    assert _shares(FakeRay(*nodes), workers, graphics) == expected


def test_the_manifest_has_a_line_for_each_scene(tmp_path):
    path = tmp_path / 'maps' / 'manifest.jsonl'
    write_manifest(path, [Outcome('a.tif', 'maps/a.tif', 'done', 1.5, 'host:1', 2, 'ab'),
                          Outcome('b.tif', 'maps/b.tif', 'failed', 0.5, error='no raster')])
    first, second = map(json.loads, path.read_text().splitlines())
    assert {key: first[key] for key in (
        'scene', 'output', 'status', 'seconds', 'worker', 'attempts', 'sha256')} == {
        'scene': 'a.tif', 'output': 'maps/a.tif', 'status': 'done', 'seconds': 1.5,
        'worker': 'host:1', 'attempts': 2, 'sha256': 'ab'}
    assert second['error'] == 'no raster'
    assert [file.name for file in path.parent.iterdir()] == ['manifest.jsonl']


def test_without_ray_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'crossearth\[scale\]'"):
        list(predict_scenes(jobs(tmp_path, 'a'), lambda: None))
