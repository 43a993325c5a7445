# SPDX-License-Identifier: Apache-2.0
"""Laws of the project as a whole: what an import costs, and that its set-up files agree."""

import importlib.metadata
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import crossearth

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ('torch', 'mmengine', 'mmcv', 'mmseg', 'cv2', 'matplotlib')
# What an outer `make test VENV=...` passes down; the commands under test must not see it.
OUTER = ('MAKEFLAGS', 'MAKELEVEL', 'MFLAGS', 'MAKEOVERRIDES', 'VENV', 'PYTHON', 'DEMO_ITERS',
         'PYTEST_FLAGS', 'PORT', 'NNODES')


def run(*command, cwd=ROOT, **settings):
    environment = {key: value for key, value in os.environ.items() if key not in OUTER}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=60,
        env=environment | {key: str(value) for key, value in settings.items()})


@pytest.mark.parametrize('module', ['crossearth', 'crossearth.compat', 'crossearth.errors'])
def test_import_loads_nothing_heavy(module):
    code = f'import {module}, sys; print([name for name in {HEAVY} if name in sys.modules])'
    assert run(sys.executable, '-c', code).stdout.strip() == '[]'


def test_packages_import_in_one_direction():
    pytest.importorskip('importlinter', reason='import-linter is an extra (dev)')
    code = 'from importlinter.cli import lint_imports; raise SystemExit(lint_imports())'
    result = run(sys.executable, '-c', code)
    assert result.returncode == 0, result.stdout
    assert 'Contracts: 3 kept, 0 broken' in result.stdout


# ------------------------------------------------------------------------------------- packaging

def test_versions_agree():
    assert runpy.run_path(str(ROOT / 'setup.py'))['version']() == crossearth.__version__


def test_core_requirements_hold_here_and_leave_out_what_breaks_it():
    names = []
    for requirement in runpy.run_path(str(ROOT / 'setup.py'))['core']():
        name, operator, wanted = re.fullmatch(r'([\w-]+)(==|>=)([\d.]+)', requirement).groups()
        installed = importlib.metadata.version(name)
        if operator == '==':
            assert installed == wanted, name
        names.append(name)
    assert not {'torchvision', 'timm', 'onedl-mmdetection', 'xformers'} & set(names)


# -------------------------------------------------------------------------------------- Makefile

@pytest.fixture
def checkout(tmp_path):
    """A copy of the set-up files with a Python that only writes down what it is asked to do."""
    for name in ('Makefile', 'requirements.txt', 'setup.py', 'scripts/setup_venv.sh'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / '.venv' / 'bin' / 'python'
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    python.chmod(0o755)

    def make(*arguments):
        (tmp_path / 'calls').write_text('')
        result = run('make', f'PYTHON={sys.executable}', *arguments, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        return (tmp_path / 'calls').read_text().splitlines()

    make.path = tmp_path
    return make


def test_demo_installs_once_then_runs_only(checkout):
    first = checkout('demo', 'DEMO_ITERS=7')
    assert sum('pip install' in call for call in first) == 3  # core, demo, packages of data
    assert first[-2:] == ['scripts/demo.py --iters 7', 'scripts/demo_map.py']
    assert checkout('demo') == ['scripts/demo.py', 'scripts/demo_map.py']


def test_test_needs_no_other_command_and_leaves_slow_tests_out(checkout):
    calls = checkout('test')
    assert any('onedl-mmdetection' in call and '--no-deps' in call for call in calls)
    assert calls[-1].startswith('-m pytest -m not slow')
    assert len(checkout('test')) == 1


def test_changed_requirements_are_installed_again(checkout):
    checkout('venv')
    assert checkout('venv') == []
    os.utime(checkout.path / 'requirements.txt', (2**31, 2**31))
    assert any('pip install' in call for call in checkout('venv'))


def test_help_names_every_target():
    targets = re.search(r'^\.PHONY: (.*)$', (ROOT / 'Makefile').read_text(), re.MULTILINE)[1]
    listed = re.findall(r'^  make ([a-z-]+)', run('make', 'help').stdout, re.MULTILINE)
    assert sorted(listed) == sorted(targets.split())


def fake(folder, name, script):
    path = folder / name
    path.write_text(f'#!/bin/sh\n{script}\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(('script', 'message'), [
    ('[ "$1" = --version ] && echo Python 3.8.1; exit 1', r'Python 3\.8\.1 is too old, 3\.10'),
    ('[ "$1" = -m ] && exit 1; exit 0', r'apt install python3-venv'),
])
def test_unfit_python_gets_one_line(script, message, tmp_path):
    python = fake(tmp_path, 'python', script)
    result = run(ROOT / 'scripts/setup_venv.sh', tmp_path / 'venv', python)
    assert result.returncode == 1
    assert re.search(f'error: .*{message}', result.stderr)
    assert not (tmp_path / 'venv').exists()


def test_absent_python_gets_one_line(tmp_path):
    result = run(ROOT / 'scripts/setup_venv.sh', tmp_path / 'venv', 'python2.99')
    assert result.returncode == 1
    assert result.stderr.startswith("error: there is no 'python2.99'")


# ------------------------------------------------------------------------------------- launchers

@pytest.mark.parametrize(('tool', 'files'), [('train', ['c.py']), ('test', ['c.py', 'm.pth'])])
def test_launcher_starts_one_process_per_gpu(tool, files):
    words = run('bash', ROOT / f'tools/dist_{tool}.sh', *files, 2, '--seed', 1, PYTHON='echo')
    assert words.stdout.split() == [
        '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2',
        str(ROOT / f'tools/{tool}.py'), *files, '--launcher', 'pytorch', '--seed', '1']


def test_launcher_meets_other_machines():
    words = run('bash', ROOT / 'tools/dist_train.sh', 'c.py', 8, PYTHON='echo', NNODES=2,
                NODE_RANK=1, MASTER_ADDR='10.0.0.1', PORT=1234).stdout
    assert ('--nnodes 2 --node_rank 1 --master_addr 10.0.0.1 --master_port 1234 '
            '--nproc_per_node 8') in words


@pytest.mark.parametrize(('tool', 'files'), [('train', ['c.py']), ('test', ['c.py', 'm.pth'])])
def test_slurm_asks_for_gpus(tool, files, tmp_path):
    fake(tmp_path, 'srun', 'echo "$@"')
    words = run('bash', ROOT / f'tools/slurm_{tool}.sh', 'part', 'job', *files, '--seed', 1,
                GPUS=16, SRUN_ARGS='--time 1:00 --quiet',
                PATH=f"{tmp_path}:{os.environ['PATH']}").stdout
    assert '--gres=gpu:8 --ntasks=16 --ntasks-per-node=8' in words
    assert '--time 1:00 --quiet python -u' in words
    assert words.split('tools/')[1].split() == [
        f'{tool}.py', *files, '--launcher', 'slurm', '--seed', '1']


@pytest.mark.parametrize('script', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test'])
def test_launcher_without_arguments_shows_its_usage(script):
    result = run('bash', ROOT / f'tools/{script}.sh')
    assert result.returncode == 2
    assert result.stderr.startswith('usage: ')
    assert f'[options of tools/{script.split("_")[1]}.py]' in result.stderr
