# SPDX-License-Identifier: Apache-2.0
"""The demo: its small parts, and (slow) the whole job in a few iterations."""

import json
import math
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def demo():
    return runpy.run_path(str(ROOT / 'scripts' / 'demo.py'))


def test_diversity_is_the_entropy_of_labelled_pixels(demo):
    label = np.array([[0, 0, 1, 1]], dtype=np.uint8)
    assert demo['diversity'](label) == pytest.approx(math.log(2))
    assert demo['diversity'](np.full((4, 4), 255, np.uint8)) == 0
    ignored = np.array([[0, 1, 255, 255]], dtype=np.uint8)
    assert demo['diversity'](ignored) == pytest.approx(math.log(2) / 2)


def test_newest_iteration_reads_whole_lines_of_this_run_only(demo, tmp_path):
    newest = demo['newest_iteration']
    assert newest(tmp_path, 0) == 0
    log = tmp_path / '20260101_000000' / 'vis_data' / 'scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('{"step": 10}\n{"step": 20}\n{"st')
    assert newest(tmp_path, 0) == 20
    assert newest(tmp_path, time.time() + 60) == 0


@pytest.mark.slow
def test_the_whole_demo_and_its_reuse(tmp_path):
    pytest.importorskip('onnx', reason='needs the extra demo')
    command = [sys.executable, 'scripts/demo.py', '--iters', '4', '--out', str(tmp_path / 'demo')]
    first = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=900,
        env={**os.environ, 'OMP_WAIT_POLICY': 'passive'})
    assert 'mean over unseen' in first.stdout
    report = json.loads((tmp_path / 'demo' / 'report.json').read_text())
    assert set(report['methods']) == {'CrossEarth', 'Rein', 'Frozen backbone'}
    for method in report['methods'].values():
        assert len(method['domains']) == 4
    assert (tmp_path / 'demo' / 'unseen_climates.png').stat().st_size > 20_000
    assert (tmp_path / 'demo' / 'crossearth' / 'pictures' / 'iter_000004.png').is_file()
    for name in ('crossearth', 'rein', 'frozen'):
        checkpoint = next((tmp_path / 'demo' / name).glob('iter_*.pth'))
        assert checkpoint.stat().st_size < 120e6
    started = time.time()
    second = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    assert 'Reused, trained before' in second.stdout
    assert time.time() - started < 120
