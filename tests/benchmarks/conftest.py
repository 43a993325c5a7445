# SPDX-License-Identifier: Apache-2.0
"""The scripts of benchmarks/ as modules, and settings that take seconds."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'benchmarks'))

import common  # the folder of the scripts is on the path only now


@pytest.fixture
def settings():
    """Of a tiny model."""
    return common.Settings(model='tiny', size=64, batch=2, repeats=2)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Run a script with a tiny model; gives its exit status and the file that it writes."""
    monkeypatch.setattr(common, 'GEMM_SIDE', {'cpu': 64})
    monkeypatch.setattr(common, 'START', 'fork')  # what is imported is imported
    monkeypatch.setattr(common, 'RESULTS', tmp_path)

    def run(name, *options, size=64):
        status = import_module(name).main([
            '--model', 'tiny', '--size', str(size), '--repeats', '2', '--device', 'cpu', *options])
        [file] = tmp_path.glob('*.json')
        return status, file

    return run
