# SPDX-License-Identifier: Apache-2.0
"""Instead of trainings and tests in processes of their own: what they would leave."""

import importlib.util
import json
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from crossearth.engine.complete import complete_config
from crossearth.engine.config import load_config
from crossearth.engine.run_facts import config_facts
from crossearth.evaluation import DomainReport, DomainResult, write_json

__all__ = ['FakeTools', 'load_tool', 'report']

TOOLS = Path(__file__).resolve().parents[1] / 'tools'


def report(right, wrong=100):
    """A report whose unseen mIoU depends on how many pixels were right."""
    matrix = np.array([[right, wrong], [wrong, right]])
    harder = matrix + 9 * (1 - np.eye(2, dtype=np.int64))
    return DomainReport(('low', 'high'), ('dry',), {
        'dry': DomainResult(matrix, 3), 'wet': DomainResult(harder, 2)})


def load_tool(name, monkeypatch):
    """Import a file of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, TOOLS / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


class FakeTools:
    """Takes the place of processes: leaves what tools/train.py and tools/test.py leave."""

    def __init__(self):
        self.calls, self.broken = [], 0  # the iteration whose checkpoint is the last
        self.lock = threading.Lock()  # processes do not share what mmengine keeps for all threads

    def install(self, monkeypatch):
        monkeypatch.setattr('crossearth.engine.experiments.subprocess',
                            SimpleNamespace(run=self.run, STDOUT=None))

    def run(self, command, stdout, **_):
        with self.lock:
            return self.pretend(command, stdout)

    def pretend(self, command, stdout):
        """Leave what the command would leave."""
        python, tool, config, *options, flag, folder = command
        assert (python, flag) == (sys.executable, '--work-dir')
        folder, tool = Path(folder), Path(tool)
        assert tool.is_file()
        assert config == f'{folder}.py'
        (folder / Path(config).name).write_text('# the completed config, which the runner dumps')
        self.calls.append((tool.stem, str(folder), *options))
        if tool.stem == 'test':
            assert options == [str(folder / 'iter_7.pth')]
        elif self.broken and folder.name == 'seed1':
            (folder / f'iter_{self.broken}.pth').touch()
            stdout.write('no space left on device')
            return SimpleNamespace(returncode=1)
        else:
            (folder / 'iter_7.pth').touch()
            self.write_log(folder)
        write_json(report(300), folder / 'report.json', {'run': {
            **config_facts(complete_config(load_config(config))), 'checkpoint_sha256': '1' * 64}})
        return SimpleNamespace(returncode=0)

    def write_log(self, folder):
        """Three logged iterations; the test logs a time, too, but no loss."""
        log = folder / '20260101_000000' / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        lines = [{'time': t, 'loss': 1.0, 'memory': m} for t, m in ((9, 50), (1, 70), (2, 60))]
        log.write_text('\n'.join(map(json.dumps, [*lines, {'time': 0.1}])))
