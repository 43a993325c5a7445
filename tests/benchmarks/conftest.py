# SPDX-License-Identifier: Apache-2.0
"""The scripts of benchmarks/ as modules, and settings that take seconds."""

import importlib.util
import sys
from pathlib import Path

import pytest

# On the path for a moment only: a script there has the name of a folder of tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'benchmarks'))
import common
import reference  # noqa: F401  # what scripts import from their folder
import workload  # noqa: F401

FOLDER = Path(sys.path.pop(0))


def script(name):
    """Import a script."""
    spec = importlib.util.spec_from_file_location(f'benchmark_{name}', FOLDER / f'{name}.py')
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(name='script')
def load_script():
    """Import a script by its name."""
    return script


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
        status = script(name).main([
            '--model', 'tiny', '--size', str(size), '--repeats', '2', '--device', 'cpu', *options])
        [file] = tmp_path.glob('*.json')
        return status, file

    return run
