# SPDX-License-Identifier: Apache-2.0
"""Crashes, damage, full disks and bad losses: a run survives them, or ends saying why.

The numbers are the rows of the project's list of faults.
"""

import errno
import math
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from toy_training import MEASURED, history, toy_runner

from crossearth.engine import rng
from crossearth.engine.checkpoint_files import (
    list_checkpoints,
    newest_valid,
    point_to,
    problem_of,
    prune,
    remove_orphans,
    save_checkpoint,
)
from crossearth.engine.config import load_config
from crossearth.engine.runner import build_runner, load_checkpoint
from crossearth.errors import CheckpointError, TrainingError
from crossearth.transforms.loading import LoadImage

ROOT = Path(__file__).resolve().parents[2]


def save_run(folder, iterations=(5, 10, 15)):
    """Write small checkpoints whose tensor is their iteration."""
    folder.mkdir(exist_ok=True)
    for iteration in iterations:
        save_checkpoint({'x': torch.full((1000,), float(iteration))},
                        folder / f'iter_{iteration}.pth')
        point_to(folder / f'iter_{iteration}.pth')
    return folder


def value_of(path):
    x = torch.load(path, weights_only=True)['x']
    assert bool((x == x[0]).all())
    return int(x[0])


# ------------------------------------------------------------------------------------ 1: SIGKILL

def fork(function, *args):
    """Run a function in a forked process: a real process to kill, without importing torch anew."""
    process = multiprocessing.get_context('fork').Process(target=function, args=args)
    process.start()
    return process


def save_once(path, megabytes):
    save_checkpoint({'x': torch.ones(megabytes * 250_000)}, path)


def test_fault_01_sigkill_while_saving(tmp_path):
    before = torch.arange(10.0)
    save_checkpoint({'x': before}, tmp_path / 'iter_1.pth')
    process = fork(save_once, tmp_path / 'iter_2.pth', 200)
    deadline = time.time() + 60
    while process.is_alive() and time.time() < deadline:
        if any(path.stat().st_size > 40e6 for path in tmp_path.glob('.iter_2*.tmp')):
            break
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in list_checkpoints(tmp_path)] == ['iter_1.pth']
    assert torch.equal(torch.load(newest_valid(tmp_path), weights_only=True)['x'], before)
    orphans = list(tmp_path.glob('.*.tmp'))
    assert len(orphans) == 1
    assert remove_orphans(tmp_path) == orphans
    assert not orphans[0].exists()


def save_for_ever(folder, first, confirmed):
    for iteration in range(first, 10**6):
        path = folder / f'iter_{iteration}.pth'
        save_checkpoint({'x': torch.full((2_000_000,), float(iteration))}, path)
        point_to(path)
        prune(path, 2)
        os.write(confirmed, b'%d\n' % iteration)


@pytest.mark.parametrize('kills', [5, pytest.param(50, marks=pytest.mark.slow)])
def test_fault_01_kills_at_random_moments_lose_nothing(tmp_path, kills):
    draws = random.Random(kills)
    last = 0
    for _ in range(kills):
        reader, writer = os.pipe()
        process = fork(save_for_ever, tmp_path, last + 1, writer)
        os.close(writer)
        time.sleep(draws.uniform(0.05, 0.35))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        with os.fdopen(reader) as pipe:
            confirmed = [int(line) for line in pipe.read().split()]
        newest = newest_valid(tmp_path, warn=pytest.fail)
        last = 0 if newest is None else value_of(newest)
        assert last >= max(confirmed, default=last)
        remove_orphans(tmp_path)
    assert last > 0
    prune(newest, 2)
    left = {path.name for path in tmp_path.iterdir()} - {f'{newest.name}.sha256'}
    kept = {path.name for path in list_checkpoints(tmp_path)}
    assert len(kept) <= 2
    assert left <= kept | {f'{name}.sha256' for name in kept} | {'last_checkpoint'}


# ----------------------------------------------------------------------------------- 2, 3: damage

def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(15).tobytes() * 9)] ^= 1  # inside the tensor
    path.write_bytes(content)


@pytest.mark.parametrize('damage', [truncate, empty])
@pytest.mark.parametrize('checksum', [True, False])
def test_fault_02_truncated_or_empty(tmp_path, damage, checksum):
    save_run(tmp_path)
    damage(tmp_path / 'iter_15.pth')
    if not checksum:
        (tmp_path / 'iter_15.pth.sha256').unlink()
    with pytest.warns(UserWarning, match=r'iter_15\.pth is passed over: it is|: sha256 mismatch'):
        assert value_of(newest_valid(tmp_path)) == 10


@pytest.mark.parametrize('checksum', [True, False])
def test_fault_03_one_flipped_bit(tmp_path, checksum):
    save_run(tmp_path)
    flip_a_bit(tmp_path / 'iter_15.pth')
    if not checksum:
        (tmp_path / 'iter_15.pth.sha256').unlink()
    expected = 'sha256 mismatch' if checksum else r'it is damaged at .*data/0'
    with pytest.warns(UserWarning, match=expected):
        assert value_of(newest_valid(tmp_path)) == 10


def test_fault_03_a_flipped_bit_is_not_tested_either(tmp_path):
    save_run(tmp_path)
    flip_a_bit(tmp_path / 'iter_15.pth')
    with pytest.raises(CheckpointError, match=r'iter_15\.pth is not loaded: sha256 mismatch'):
        load_checkpoint(None, tmp_path / 'iter_15.pth')


def test_fault_02_all_damaged(tmp_path):
    save_run(tmp_path)
    for path, damage in zip(list_checkpoints(tmp_path), (truncate, empty, truncate), strict=True):
        damage(path)
    with pytest.raises(CheckpointError, match=r'none.*iter_15.*sha256.*iter_10.*empty.*iter_5'):
        newest_valid(tmp_path, warn=lambda text: None)


def test_fault_02_a_run_goes_on_from_the_newest_valid(tmp_path):
    toy_runner(tmp_path, 'run', 6, **{'default_hooks.checkpoint.interval': 2}).train()
    truncate(tmp_path / 'run' / 'iter_6.pth')
    resumed = toy_runner(tmp_path, 'run', 8, resume=True)
    resumed.train()
    assert resumed.train_loop._first == 4
    assert problem_of(tmp_path / 'run' / 'iter_8.pth') is None
    assert (tmp_path / 'run' / 'earlier_iter_6.pth').is_file()


# ------------------------------------------------------------------------ 4: where the newest lies

@pytest.mark.parametrize('pointer', [None, '', '/elsewhere/iter_99.pth', 'iter_5.pth'])
def test_fault_04_pointer_and_moved_folder(tmp_path, pointer):
    save_run(tmp_path / 'run')
    assert (tmp_path / 'run' / 'last_checkpoint').read_text() == 'iter_15.pth'
    moved = tmp_path / 'moved'
    shutil.move(tmp_path / 'run', moved)
    (moved / 'last_checkpoint').unlink()
    if pointer is not None:
        (moved / 'last_checkpoint').write_text(pointer)
    assert value_of(newest_valid(moved)) == 15


def test_fault_04_resume_auto_then_sigterm_saves_and_exits_143(tiny_config, tmp_path):
    """Signals reach the whole process group, workers too, as Slurm and shells send them."""
    run = tmp_path / 'run'
    process = subprocess.Popen(
        [sys.executable, 'tools/train.py', str(tiny_config), '--work-dir', str(run),
         '--resume', 'auto', '--cfg-options', 'train_cfg.max_iters=100000',
         'train_dataloader.num_workers=2', 'default_hooks.logger.interval=1'],
        cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, text=True,
        env={**os.environ, 'CUDA_VISIBLE_DEVICES': ''})
    lines = []
    for line in process.stdout:
        lines.append(line)
        if 'Iter(train)' in line:
            os.killpg(process.pid, signal.SIGTERM)
            break
    lines.append(process.communicate(timeout=120)[0])
    text = ''.join(lines)
    assert process.returncode == 143, text[-2000:]
    assert 'so the training starts anew' in text
    assert 'Stopped by signal 15 after iteration' in text
    saved = newest_valid(run, warn=pytest.fail)
    assert saved is not None
    assert (run / 'last_checkpoint').read_text() == saved.name
    assert f'Saved {saved}' in text


# ----------------------------------------------------------------------------------- 5: full disk

def test_fault_05_no_space(tmp_path, monkeypatch):
    save_run(tmp_path)

    def full(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class Full:
        write = full

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(Path, 'open', lambda *args, **kwargs: Full())
    with pytest.raises(CheckpointError,
                       match=r'No space left.*needs 4\.0 MB, and [\d.]+ MB are free'):
        save_checkpoint({'x': torch.zeros(1_000_000)}, tmp_path / 'iter_20.pth')
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.fixture
def small_files():
    """No file of this process can grow beyond 300 kB, until the fixture is told otherwise."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, former[1]))
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, former)
    resource.setrlimit(resource.RLIMIT_FSIZE, former)


def test_fault_05_file_size_limit(tmp_path, small_files):
    save_run(tmp_path)
    with pytest.raises(CheckpointError, match=r'File too large.*needs 4\.0 MB'):
        save_checkpoint({'x': torch.zeros(1_000_000)}, tmp_path / 'iter_20.pth')
    assert not list(tmp_path.glob('.*'))
    assert value_of(newest_valid(tmp_path)) == 15


def test_fault_05_training_goes_on_and_stops_after_three(tmp_path, small_files):
    runner = toy_runner(tmp_path, 'run', 20, **{'default_hooks.checkpoint.interval': 2})
    with pytest.raises(CheckpointError, match='File too large'):
        runner.train()
    assert runner.iter == 5  # saves after 2, 4 and 6 iterations, counted from 0 inside the last
    assert list_checkpoints(tmp_path / 'run') == []
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert 'failed 1 of 3 times' in log
    small_files()
    toy_runner(tmp_path, 'run', 2).train()
    assert len(list_checkpoints(tmp_path / 'run')) == 1


def test_fault_05_a_lost_last_checkpoint_is_an_error(tmp_path, small_files):
    with pytest.raises(CheckpointError, match='File too large'):
        toy_runner(tmp_path, 'run', 2).train()


# -------------------------------------------------------------------------------------- 6: parity

def assert_equal(a, b, path=''):
    """Compare nested values bit by bit."""
    assert type(a) is type(b), path
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, path
        assert torch.equal(a, b), path
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_equal(a[key], b[key], f'{path}.{key}')
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f'{path}[{index}]')
    else:
        assert a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b)), path


def training_part(path):
    """What a checkpoint says of the training, without names, times and versions."""
    content = torch.load(path, weights_only=True)
    content.pop('meta')
    hub = content.pop('message_hub')
    content['log'] = {name: values for name, values in hub['log_scalars'].items()
                      if not name.endswith(MEASURED)}
    return content


@pytest.mark.parametrize('ema', [False, True], ids=['', 'ema'])
@pytest.mark.parametrize('workers', [0, 2])
def test_fault_06_resumed_equals_uninterrupted(tmp_path, workers, ema):
    whole = toy_runner(tmp_path, 'whole', workers=workers, ema=ema)
    whole.train()
    part = tmp_path / 'part'
    part.mkdir()
    shutil.copy(tmp_path / 'whole' / 'iter_10.pth', part)
    rng.reseed(99)
    resumed = toy_runner(
        tmp_path, 'part', workers=workers, ema=ema, resume=True, **{'randomness.seed': 4})
    resumed.train()
    assert_equal(training_part(part / 'iter_20.pth'), training_part(tmp_path / 'whole/iter_20.pth'))
    assert_equal(history(resumed), history(whole))
    assert len(history(whole)['train/loss']) == len(history(whole)['train/lr']) == 20
    assert len(set(history(whole)['train/loss'])) == 20


def test_fault_06_workers_change_nothing(tmp_path):
    histories = []
    for workers in (0, 2):
        runner = toy_runner(tmp_path, f'workers{workers}', 4, workers=workers)
        runner.train()
        histories.append(history(runner))
    assert histories[0] == histories[1]


def test_fault_06_skipped_samples_are_not_read(tmp_path, monkeypatch):
    toy_runner(tmp_path, 'run', 6).train()
    reads = []
    load = LoadImage.transform
    monkeypatch.setattr(
        LoadImage, 'transform', lambda self, sample: reads.append(1) or load(self, sample))
    toy_runner(tmp_path, 'run', 8, resume=True).train()
    assert len(reads) == 2 * 2


def test_fault_06_the_whole_method(tiny_config, tmp_path):
    """Style draws, masks, points of the head's loss and drop path go on, too."""
    def train(work_dir, **options):
        cfg = load_config(tiny_config, {
            'train_cfg.max_iters': 4, 'default_hooks.checkpoint.interval': 2,
            'model.backbone.drop_path': 0.3, **options})
        cfg.work_dir = str(tmp_path / work_dir)
        cfg.experiment_name = work_dir
        build_runner(cfg).train()

    train('whole')
    (tmp_path / 'part').mkdir()
    shutil.copy(tmp_path / 'whole' / 'iter_2.pth', tmp_path / 'part')
    rng.reseed(99)
    train('part', resume=True)
    assert_equal(training_part(tmp_path / 'part' / 'iter_4.pth'),
                 training_part(tmp_path / 'whole' / 'iter_4.pth'))


# ---------------------------------------------------------------------------- 7: non-finite losses

def test_fault_07_one_bad_loss_is_skipped_and_named(tmp_path):
    runner = toy_runner(tmp_path, 'run', 5, nan_at=(2,))
    weights = []
    runner.register_hook(SnapshotHook(weights))
    runner.train()
    assert runner.message_hub.get_info('skipped_steps') == 1
    for name, weight in weights[1].items():
        assert torch.equal(weight, weights[2][name])
    assert not torch.equal(weights[2]['out.weight'], weights[3]['out.weight'])
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    line = next(line for line in log.splitlines() if 'is skipped' in line)
    assert 'Iteration 3 ' in line
    assert 'loss_b = nan' in line
    assert 'loss_a' not in line
    assert line.count(str(tmp_path / 'tiles' / 'train' / 'dry' / 'images')) == 2
    assert all(math.isfinite(loss) for loss in history(runner)['train/loss'])
    assert len(history(runner)['train/loss']) == 4


class SnapshotHook(Hook):
    def __init__(self, weights):
        self.weights = weights

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.weights.append({k: v.clone() for k, v in runner.model.state_dict().items()})


def test_fault_07_three_in_a_row_stop_and_leave_no_checkpoint(tmp_path):
    runner = toy_runner(tmp_path, 'run', 20, nan_at=(4, 5, 6), **{
        'default_hooks.checkpoint.interval': 2})
    with pytest.raises(TrainingError, match=r'iteration 7: .*3 iterations in a row.*loss_b = nan'):
        runner.train()
    assert [path.name for path in list_checkpoints(tmp_path / 'run')] == [
        'iter_4.pth', 'iter_2.pth']  # not after 6 iterations


def test_fault_07_two_in_a_row_postpone_the_checkpoint(tmp_path):
    toy_runner(tmp_path, 'run', 9, nan_at=(2, 3), **{
        'default_hooks.checkpoint.interval': 4}).train()
    assert [path.name for path in list_checkpoints(tmp_path / 'run')] == [
        'iter_9.pth', 'iter_8.pth', 'iter_5.pth']


class OverflowHook(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.is_last_train_iter(runner):
            runner.model.ballast.data[7] = float('inf')


def test_fault_07_weights_that_are_not_finite_are_not_saved(tmp_path):
    runner = toy_runner(tmp_path, 'run', 4)
    runner.register_hook(OverflowHook())
    with pytest.raises(TrainingError, match=r'1 of \d+ weights .* ballast.*iter_4\.pth is not'):
        runner.train()
    assert list_checkpoints(tmp_path / 'run') == []


# ------------------------------------------------------------------------------ 9: our own format

def test_fault_09_loads_without_an_allow_list(tmp_path):
    toy_runner(tmp_path, 'run', 2, ema=True).train()
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        content = torch.load(tmp_path / 'run' / 'iter_2.pth', weights_only=True)
    finally:
        torch.serialization.add_safe_globals(allowed)
    assert content['meta']['iter'] == 2
    assert len(content['message_hub']['log_scalars']['train/loss']['values']) == 2
