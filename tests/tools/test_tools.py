# SPDX-License-Identifier: Apache-2.0
"""The command line as users call it: results, exit codes, and errors in one paragraph."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from crossearth.engine.config import load_config

ROOT = Path(__file__).resolve().parents[2]
ENV = {**os.environ, 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}


def call(*command, cwd=ROOT, **env):
    if command[0].endswith('.py'):
        command = (sys.executable, *command)
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env={**ENV, **env}, capture_output=True,
        text=True, timeout=240, check=False)


def test_two_processes_train_and_test_like_one(tiny_config, tmp_path):
    run = tmp_path / 'run'
    trained = call('bash', 'tools/dist_train.sh', tiny_config, 2, '--work-dir', run)
    assert trained.returncode == 0, trained.stderr[-2000:]
    assert 'mean over unseen' in trained.stdout
    checkpoint = run / 'iter_2.pth'
    one = call('tools/test.py', tiny_config, checkpoint, '--work-dir', tmp_path / 'one')
    assert one.returncode == 0, one.stderr[-2000:]
    assert 'mean over unseen' in one.stdout
    # five samples in two processes: one of them is padded with a duplicate
    two = call('bash', 'tools/dist_test.sh', tiny_config, checkpoint, 2,
               '--work-dir', tmp_path / 'two')
    assert two.returncode == 0, two.stderr[-2000:]
    first, second, at_once = (json.loads((tmp_path / name / 'report.json').read_text())
                              for name in ('one', 'two', 'run'))
    assert first == second
    assert first['domains'] == at_once['domains']
    assert first['domains']['dry']['num_samples'] == 3


def test_missing_data_is_one_paragraph(tmp_path):
    done = call('tools/train.py', 'configs/crossearth/casid_sub2tem.py', '--work-dir', tmp_path,
                XDG_CACHE_HOME=str(tmp_path), CROSSEARTH_WEIGHTS=str(tmp_path),
                CROSSEARTH_DATA=str(tmp_path / 'data'))
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr
    assert done.stderr.startswith('error: ')
    for fact in ('data/casid does not exist', 'crossearth data info casid',
                 'dinov2_vitl14_pretrain.pth'):
        assert fact in done.stderr


@pytest.mark.parametrize(('option', 'hint'), [
    ('modle.backbone.arch=s', "Did you mean 'model'"),
    ('model.decode_head.type=RienMask2FormerHead', "Did you mean 'ReinMask2FormerHead'"),
    ('model.backbone.frozn=False', "Did you mean 'frozen'"),
    ('train_dataloader.dataset.domains=[wett]', 'wett')])
def test_a_typo_is_one_paragraph(tiny_config, tmp_path, option, hint):
    done = call('tools/train.py', tiny_config, '--work-dir', tmp_path / 'run',
                '--cfg-options', option)
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr
    assert hint in done.stderr


def test_a_label_that_no_class_has_is_one_paragraph(tiny_config, tmp_path):
    label = tmp_path / 'tiles' / 'train' / 'dry' / 'labels' / '2.png'
    Image.fromarray(np.full((32, 32), 7, np.uint8)).save(label)
    done = call('tools/train.py', tiny_config, '--work-dir', tmp_path / 'run')
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr
    assert str(label) in done.stderr


def test_resume_without_a_checkpoint(tiny_config, tmp_path):
    done = call('tools/train.py', tiny_config, '--resume', '--work-dir', tmp_path / 'none')
    assert done.returncode == 2
    assert '--resume: no checkpoint in' in done.stderr


# ------------------------------------------------------------------------ options of tools/train.py

@pytest.fixture
def train(monkeypatch, tmp_path):
    """Call tools/train.py with a runner that only notes down; give its config and what it did."""
    monkeypatch.chdir(tmp_path)

    def call_train(*arguments):
        done = []
        runner = SimpleNamespace(train=lambda: done.append('train'))

        def build(cfg, launcher, test, **_):
            done.extend([cfg, test])
            return runner

        monkeypatch.setattr('crossearth.engine.runner.build_runner', build)
        monkeypatch.setattr('crossearth.engine.runner.evaluate_trained',
                            lambda _: done.append('test'))
        monkeypatch.setattr(sys, 'argv', ['train.py', *map(str, arguments)])
        runpy.run_path(str(ROOT / 'tools' / 'train.py'), run_name='__main__')
        return done[0], done[1:]

    return call_train


def test_training_is_tested_unless_told_otherwise(train, tiny_config):
    assert train(tiny_config)[1] == [True, 'train', 'test']
    assert train(tiny_config, '--no-test')[1] == [False, 'train']


def test_a_config_without_test_data_is_only_trained(train, tiny_config):
    text = tiny_config.read_text()
    tiny_config.write_text(text[:text.index('test_dataloader')] + text[text.index('train_cfg'):])
    assert train(tiny_config)[1] == [False, 'train']


def test_work_dir_seed_and_options(train, tiny_config):
    folder = tiny_config.parent.name  # configs of one name in two folders share no run
    assert train(tiny_config)[0].work_dir == f'work_dirs/{folder}/tiny'
    cfg, _ = train(tiny_config, '--work-dir', 'here', '--seed', 7, '--cfg-options',
                   'model.mask.block=4')
    assert (cfg.work_dir, cfg.randomness.seed, cfg.model.mask.block) == ('here', 7, 4)


@pytest.mark.parametrize(('words', 'dtype'), [
    (['--amp'], 'bfloat16'), (['--amp', 'bf16'], 'bfloat16'), (['--amp', 'fp16'], 'float16')])
def test_amp(train, tiny_config, words, dtype):
    wrapper = train(tiny_config, *words)[0].optim_wrapper
    assert (wrapper.type, wrapper.dtype) == ('AutocastOptimWrapper', dtype)


@pytest.mark.parametrize(('setting', 'schedule', 'lr', 'begins'), [
    ('casid_sub2tem', None, 6e-5, [0, 10000]), ('casid_sub2tem', 'paper', 1e-4, [0]),
    ('casid_sub2tem', 'published', 6e-5, [0, 10000]),
    ('potsdam-irrg2vaihingen', 'published', 1e-4, [0]),
    ('potsdam-irrg2vaihingen', ROOT / 'configs/_base_/schedules/demo.py', 1e-3, [0, 30])])
def test_schedule(train, setting, schedule, lr, begins):
    cfg, _ = train(ROOT / f'configs/rein/{setting}.py', *(['--schedule', schedule] if schedule
                                                          else []))
    assert cfg.optim_wrapper.optimizer.lr == lr
    assert [scheduler.begin for scheduler in cfg.param_scheduler] == begins
    assert cfg.optim_wrapper.constructor == 'TrainableOptimWrapperConstructor'


def test_options_win_over_the_schedule(train, tiny_config):
    cfg, _ = train(tiny_config, '--schedule', 'paper', '--cfg-options', 'train_cfg.max_iters=3')
    assert (cfg.train_cfg.max_iters, cfg.optim_wrapper.optimizer.lr) == (3, 1e-4)


def test_no_published_schedule_for_a_crop(train, tiny_config, capsys):
    with pytest.raises(SystemExit):
        train(tiny_config, '--schedule', 'published')
    assert 'there is one for crops of 512 and of 1024 px, not of 32' in capsys.readouterr().err


def test_bluemarble_is_built_where_configs_look_for_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, 'argv', ['prepare_bluemarble.py'])
    parse = runpy.run_path(str(ROOT / 'tools' / 'prepare_bluemarble.py'))['parse_args']
    for value in ('data', str(tmp_path)):
        monkeypatch.setenv('CROSSEARTH_DATA', value)
        base = load_config(ROOT / 'configs/_base_/datasets/bluemarble.py')
        assert str(parse().out) == base.data_root
