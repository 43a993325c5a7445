# SPDX-License-Identifier: Apache-2.0
import argparse
import logging
import os
import pickle
import re
import subprocess
import sys
import types
import warnings
import zipfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import HistoryBuffer, MMLogger, print_log

from crossearth import compat
from crossearth.errors import CheckpointError, ConfigError, UnsafeCheckpointError

ROOT = Path(__file__).resolve().parents[1]


def load_as_runner(path):
    """The way that a checkpoint takes when mmengine resumes from it."""
    from mmengine.runner import CheckpointLoader

    compat.apply()
    return CheckpointLoader.load_checkpoint(str(path), map_location='cpu')


@pytest.fixture
def mmengine_checkpoint(tmp_path):
    """What mmengine's CheckpointHook writes, with the types that trip torch's safe loader."""
    buffer = HistoryBuffer([1.0, 3.0], [1, 1])
    path = tmp_path / 'iter_2.pth'
    torch.save({
        'meta': {'iter': 2, 'cfg': 'a = 1', 'dataset_meta': {'palette': np.eye(3, dtype=np.uint8)}},
        'state_dict': {'w': torch.ones(2)},
        'message_hub': {'log_scalars': {'loss': buffer}, 'mIoU': np.float32(0.5)},
    }, path)
    return path


# ---------------------------------------------------------------------------------- checkpoints

def test_checkpoint_of_mmengine_loads_without_its_unsafe_fallback(mmengine_checkpoint, capsys):
    content = load_as_runner(mmengine_checkpoint)
    assert content['message_hub']['log_scalars']['loss'].mean() == 2.0
    assert content['message_hub']['mIoU'] == np.float32(0.5)
    assert 'weights_only=False' not in capsys.readouterr().out


def test_checkpoint_written_with_numpy_1_loads(mmengine_checkpoint, tmp_path):
    old = tmp_path / 'numpy1.pth'
    with zipfile.ZipFile(mmengine_checkpoint) as source, zipfile.ZipFile(old, 'w') as target:
        for name in source.namelist():
            data = source.read(name)
            assert not name.endswith('data.pkl') or b'numpy._core.multiarray' in data
            target.writestr(name, data.replace(b'numpy._core.', b'numpy.core.'))
    assert load_as_runner(old)['message_hub']['mIoU'] == np.float32(0.5)


class Attack:
    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def test_checkpoint_that_runs_code_is_refused(tmp_path):
    touched = tmp_path / 'touched'
    torch.save({'state_dict': Attack(os.system, f'touch {touched}')}, tmp_path / 'evil.pth')
    with pytest.raises(UnsafeCheckpointError, match=r'evil.pth .*could run code.*safetensors'):
        load_as_runner(tmp_path / 'evil.pth')
    assert not touched.exists()


@pytest.mark.parametrize(('owner', 'name'), [
    (HistoryBuffer, '__init__'), (HistoryBuffer, 'register_statistics'), (torch.Tensor, 'mean'),
])
def test_getattr_in_a_checkpoint_reaches_statistics_only(owner, name, tmp_path):
    torch.save(Attack(getattr, owner, name), tmp_path / 'getattr.pth')
    with pytest.raises(UnsafeCheckpointError, match='is not allowed'):
        load_as_runner(tmp_path / 'getattr.pth')


@pytest.mark.parametrize('legacy', [False, True])
def test_objects_of_frameworks_beside_the_tensors_are_not_made(tmp_path, legacy):
    class Extinct:
        """Of a release that is not installed."""

        def __init__(self):
            self.x = 1

    Extinct.__module__, Extinct.__qualname__ = 'mmseg.gone', 'Extinct'
    module = types.ModuleType('mmseg.gone')
    module.Extinct = Extinct
    sys.modules['mmseg.gone'] = module
    path, allowed = tmp_path / 'x.pth', torch.serialization.get_safe_globals()
    try:
        torch.save({
            'meta': {'cfg': ConfigDict(a=1), 'path': Path('x'), 'when': datetime(2024, 1, 1)},
            'hooks': argparse.Namespace(y=Extinct()), 'state_dict': {'w': torch.ones(2)},
        }, path, _use_new_zipfile_serialization=not legacy)
    finally:
        del sys.modules['mmseg.gone']
    content = compat.load_checkpoint(path)
    assert content['state_dict']['w'].tolist() == [1, 1]
    assert {repr(value) for value in content['meta'].values()} == {
        '<mmengine.config.config.ConfigDict, not loaded>', '<pathlib.PosixPath, not loaded>',
        '<datetime.datetime, not loaded>'}
    assert isinstance(content['hooks'], compat.Inert)
    assert vars(content['hooks']) == {}
    assert 'mmseg.gone' not in sys.modules
    compat.allow_safe_globals()
    assert {*torch.serialization.get_safe_globals()} >= {*allowed}
    assert not any(isinstance(known, type) and issubclass(known, compat.Inert)
                   for known in torch.serialization.get_safe_globals())


def test_calls_on_stand_ins_reach_nothing(tmp_path, capsys):
    # a function of a framework is not called either: its stand-in takes the arguments and forgets
    torch.save({'x': Attack(Config.fromstring, 'raise SystemExit', '.py')}, tmp_path / 'x.pth')
    with pytest.raises(UnsafeCheckpointError):
        compat.load_checkpoint(tmp_path / 'x.pth')
    torch.save({'x': Attack(print_log, 'stolen')}, tmp_path / 'x.pth')
    assert isinstance(compat.load_checkpoint(tmp_path / 'x.pth')['x'], compat.Inert)
    assert 'stolen' not in capsys.readouterr().out


def test_config_text_in_a_checkpoint_is_dropped_before_it_is_executed(tmp_path):
    torch.save({'meta': {'iter': 1, 'config': 'import os'}}, tmp_path / 'meta.pth')
    assert load_as_runner(tmp_path / 'meta.pth')['meta'] == {'iter': 1}


@pytest.mark.parametrize('damage', [
    lambda data: data[:len(data) // 2], lambda data: b'', lambda data: b'<html>404</html>',
], ids=['truncated', 'empty', 'web page'])
def test_damaged_checkpoint_is_named(damage, mmengine_checkpoint):
    mmengine_checkpoint.write_bytes(damage(mmengine_checkpoint.read_bytes()))
    with pytest.raises(CheckpointError, match=r'iter_2.pth cannot be read.*older one') as caught:
        load_as_runner(mmengine_checkpoint)
    assert not isinstance(caught.value, UnsafeCheckpointError)
    assert '\n' not in str(caught.value)


def test_out_of_memory_is_not_called_damage(mmengine_checkpoint, monkeypatch):
    def fail(*args, **kwargs):
        raise torch.cuda.OutOfMemoryError
    monkeypatch.setattr(torch, 'load', fail)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        compat.load_checkpoint(mmengine_checkpoint)


def test_allow_list_lets_no_other_function_through(tmp_path):
    compat.allow_safe_globals()
    torch.save(Attack(eval, '1'), tmp_path / 'eval.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'eval.pth', weights_only=True)


# ---------------------------------------------------------------------------------------- noise

def test_imports_are_quiet_and_real_messages_pass():
    code = (
        'from crossearth import compat; compat.apply()\n'
        'import warnings, mmseg.models, mmseg.datasets\n'
        "warnings.warn('a real warning')\n"
        "print('a real line')\n"
    )
    result = subprocess.run(
        [sys.executable, '-W', 'default', '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.splitlines() == ['a real line']
    assert [line for line in result.stderr.splitlines() if 'Warning' in line] == [
        '<string>:3: UserWarning: a real warning']


def test_noise_is_dropped_from_log_print_and_warnings(capsys):
    compat.silence()
    from mmengine.logging import print_log as quiet_print_log

    logger = MMLogger('quiet', 'quiet')  # made after silence(), as a Runner's logger is
    records = []
    logger.addHandler(handler := logging.Handler())
    handler.emit = lambda record: records.append(record.getMessage())
    logger.warning('"FileClient" will be deprecated in future.')
    logger.warning('disk nearly full')
    quiet_print_log('Could not import OneDL')
    quiet_print_log('loading')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        compat.silence()
        warnings.warn('Default ``avg_non_ignore`` is False, if', stacklevel=1)
        warnings.warn('num_workers is too high', stacklevel=1)
    assert records == ['disk nearly full']
    assert [str(warning.message) for warning in caught] == ['num_workers is too high']
    out = capsys.readouterr().out
    assert 'loading' in out
    assert 'OneDL' not in out


def test_silence_twice_wraps_once():
    compat.silence()
    from mmengine import logging as mm_logging

    first = mm_logging.print_log
    compat.silence()
    assert mm_logging.print_log is first
    assert first is not print_log or first.silenced


# ------------------------------------------------------------------------------------- processes

def test_passive_threads_are_set_before_torch_only(monkeypatch):
    monkeypatch.delenv('OMP_WAIT_POLICY')
    compat.use_passive_threads()
    assert 'OMP_WAIT_POLICY' not in os.environ  # torch is loaded: it would be a lie
    monkeypatch.delitem(sys.modules, 'torch')
    compat.use_passive_threads()
    assert os.environ['OMP_WAIT_POLICY'] == 'passive'


def test_users_own_thread_policy_stays(monkeypatch):
    monkeypatch.setenv('OMP_WAIT_POLICY', 'active')
    monkeypatch.delitem(sys.modules, 'torch')
    compat.use_passive_threads()
    assert os.environ['OMP_WAIT_POLICY'] == 'active'


def test_one_process_needs_no_group():
    cfg = Config({})
    compat.init_distributed('none', cfg)
    assert dict(cfg) == {'launcher': 'none'}
    assert not torch.distributed.is_initialized()


def test_slurm_without_gpu_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ConfigError, match=r"launcher 'slurm' needs a GPU.*torchrun"):
        compat.init_distributed('slurm', Config({}))


def test_gpus_are_left_to_mmengine(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = Config({})
    compat.init_distributed('pytorch', cfg)
    assert dict(cfg) == {'launcher': 'pytorch'}


TRAIN = '''
import sys, torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner
from crossearth import compat

class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.zeros(1))
    def forward(self, x, y, mode):
        x, y = torch.stack(x), torch.stack(y)
        return {'loss': ((self.slope * x - y) ** 2).mean()}

compat.apply()
work_dir, launcher, batch_size = sys.argv[1:]
data = [{'x': torch.tensor([float(i)]), 'y': torch.tensor([3.0 * i])} for i in range(4)]
cfg = Config()
compat.init_distributed(launcher, cfg)
runner = Runner(
    Line(), work_dir, launcher=launcher, log_level='ERROR', cfg=cfg,
    train_dataloader={'dataset': data, 'batch_size': int(batch_size),
                      'sampler': {'type': 'DefaultSampler', 'shuffle': False}},
    train_cfg={'by_epoch': True, 'max_epochs': 1},
    optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.01}},
    default_hooks={'logger': None, 'checkpoint': None})
runner.train()
print(f'slope={getattr(runner.model, "module", runner.model).slope.item():.6f}', flush=True)
'''


@pytest.mark.skipif(torch.cuda.is_available(), reason='gloo is used where there is no GPU')
def test_two_gloo_processes_train_as_one_with_twice_the_batch(tmp_path):
    script = tmp_path / 'train.py'
    script.write_text(TRAIN)

    def slopes(*command):
        result = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, timeout=120,
            env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'})
        assert result.returncode == 0, result.stderr
        return re.findall(r'slope=\d\.\d{6}', result.stdout)  # two processes may share a line

    launch = ('-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2')
    two = slopes(*launch, str(script), str(tmp_path / 'two'), 'pytorch', '1')
    one = slopes(str(script), str(tmp_path / 'one'), 'none', '2')
    assert one != ['slope=0.000000']
    assert two == one * 2
