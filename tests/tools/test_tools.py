# SPDX-License-Identifier: Apache-2.0
"""The command line as users call it: results, exit codes, and errors in one paragraph."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
    checkpoint = run / 'iter_2.pth'
    one = call('tools/test.py', tiny_config, checkpoint, '--work-dir', tmp_path / 'one')
    assert one.returncode == 0, one.stderr[-2000:]
    assert 'mean over unseen' in one.stdout
    # five samples in two processes: one of them is padded with a duplicate
    two = call('bash', 'tools/dist_test.sh', tiny_config, checkpoint, 2,
               '--work-dir', tmp_path / 'two')
    assert two.returncode == 0, two.stderr[-2000:]
    first, second = (json.loads((tmp_path / name / 'report.json').read_text())
                     for name in ('one', 'two'))
    assert first == second
    assert first['domains']['dry']['num_samples'] == 3


def test_missing_data_is_one_paragraph(tmp_path):
    done = call('tools/train.py', 'configs/crossearth/casid_sub2tem.py', '--work-dir', tmp_path,
                XDG_CACHE_HOME=str(tmp_path), CROSSEARTH_WEIGHTS=str(tmp_path))
    assert done.returncode == 2
    assert 'Traceback' not in done.stderr
    assert done.stderr.startswith('error: ')
    for fact in ('casid', 'SubMs', 'dinov2_vitl14_pretrain.pth'):
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
