# SPDX-License-Identifier: Apache-2.0
"""The training loop's ends and beginnings; parity of a resumed run is in tests/faults."""

import os
import shutil
import signal

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from toy_training import history, toy_runner

from crossearth.engine import rng
from crossearth.engine.checkpoint_files import list_checkpoints, save_checkpoint
from crossearth.engine.training_state import plain
from crossearth.errors import CheckpointError, ConfigError


class SignalHook(Hook):
    def __init__(self, number, iteration):
        self.number, self.iteration = number, iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            os.kill(os.getpid(), self.number)


def names(folder):
    return [path.name for path in list_checkpoints(folder)]


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_a_request_to_stop_finishes_the_iteration_and_saves(tmp_path, number):
    before = signal.getsignal(number)
    runner = toy_runner(tmp_path, 'run')
    runner.register_hook(SignalHook(number, 3))
    with pytest.raises(SystemExit) as ending:
        runner.train()
    assert ending.value.code == 128 + number
    assert names(tmp_path / 'run') == ['iter_4.pth']
    assert signal.getsignal(number) == before


def test_it_waits_for_accumulated_gradients(tmp_path):
    runner = toy_runner(tmp_path, 'run', **{
        'optim_wrapper.accumulative_counts': 3, 'default_hooks.checkpoint.interval': 4})
    runner.register_hook(SignalHook(signal.SIGTERM, 6))
    with pytest.raises(SystemExit):
        runner.train()
    assert names(tmp_path / 'run') == ['iter_9.pth', 'iter_6.pth']


@pytest.fixture
def ctrl_c():
    """Python's own reaction to Ctrl-C, which a job in the background does not have."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures('ctrl_c')
def test_ctrl_c_leaves_the_checkpoints_before(tmp_path):
    runner = toy_runner(tmp_path, 'run', **{'default_hooks.checkpoint.interval': 2})
    runner.register_hook(SignalHook(signal.SIGINT, 3))
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert names(tmp_path / 'run') == ['iter_2.pth']


def test_a_new_run_sets_the_checkpoints_of_an_earlier_one_aside(tmp_path):
    toy_runner(tmp_path, 'run', 4).train()
    toy_runner(tmp_path, 'run', 2).train()
    assert names(tmp_path / 'run') == ['iter_2.pth']
    assert (tmp_path / 'run' / 'earlier_iter_4.pth').is_file()


def rewrite(path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    save_checkpoint(content, path)


def test_another_number_of_processes_goes_on_in_the_sequence_of_samples(tmp_path):
    toy_runner(tmp_path, 'run', 4).train()

    def of_three_processes(content):
        content['meta']['world_size'] = 3
        content['rng'] *= 3
        content['sampler']['position'] *= 3

    rewrite(tmp_path / 'run' / 'iter_4.pth', of_three_processes)
    histories = []
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        shutil.copy(tmp_path / 'run' / 'iter_4.pth', tmp_path / name)
        runner = toy_runner(tmp_path, name, 6, resume=True)
        runner.train()
        assert runner.train_loop.position(6) == 3 * 4 * 2 + 2 * 2
        histories.append(history(runner))
    assert histories[0] == histories[1]
    log = next((tmp_path / 'a').glob('*/*.log')).read_text()
    assert 'The checkpoint is of 3 processes, this run has 1. It goes on with sample 24' in log


def test_other_data_are_announced(tmp_path):
    toy_runner(tmp_path, 'run', 2).train()
    toy_runner(tmp_path, 'run', 3, resume=True,
               **{'train_dataloader.dataset.indices': 5}).train()
    log = max((tmp_path / 'run').glob('*/*.log'), key=lambda path: path.stat().st_mtime)
    assert 'had 7 samples' in log.read_text()


@pytest.mark.parametrize(('change', 'message'), [
    (lambda content: content.pop('rng'), 'the checkpoint lacks rng'),
    (lambda content: content['state_dict'].pop('out.bias'), r'does not fit .*out\.bias'),
    (lambda content: content['optimizer']['param_groups'][0]['params'].pop(), 'does not fit')])
def test_checkpoints_that_do_not_fit(tmp_path, change, message):
    toy_runner(tmp_path, 'run', 2).train()
    rewrite(tmp_path / 'run' / 'iter_2.pth', change)
    with pytest.raises(CheckpointError, match=message):
        toy_runner(tmp_path, 'run', 3, resume=True).train()


def test_nothing_to_resume_from(tmp_path):
    with pytest.raises(CheckpointError, match=r'there is no checkpoint iter_<n>\.pth in .*run'):
        toy_runner(tmp_path, 'run', 3, resume=True).train()


@pytest.mark.parametrize(('option', 'value', 'message'), [
    ('train_dataloader.sampler.type', 'DefaultSampler', "'DefaultSampler', which cannot"),
    ('train_cfg.type', 'IterBasedTrainLoop', "Set it to 'ResumableTrainLoop'")])
def test_parts_without_a_position_are_refused(tmp_path, option, value, message):
    with pytest.raises(ConfigError, match=message):
        toy_runner(tmp_path, 'run', 3, **{option: value}).train()


def test_random_states():
    state = rng.capture()
    expected = torch.rand(3), np.random.rand(3)
    with rng.preserved():
        rng.reseed(1, 2)
        first = torch.rand(1), np.random.rand()
        rng.reseed(1, 2)
        assert (torch.rand(1), np.random.rand()) == first
        rng.reseed(1, 3)
        assert torch.rand(1) != first[0]
    rng.restore(plain(state))
    assert torch.equal(torch.rand(3), expected[0])
    assert (np.random.rand(3) == expected[1]).all()


def test_plain_values():
    value = {
        'a': np.float32(0.5), 'b': (np.arange(2), [np.bool_(True)]), 'c': None, 'd': np.str_('e')}
    result = plain(value)
    assert type(result['a']) is float
    assert torch.equal(result['b'][0], torch.arange(2))
    assert result['b'][1] == [True]
    assert type(result['d']) is str
    with pytest.raises(CheckpointError, match='of type object: only tensors and plain values'):
        plain({'x': [object()]})
