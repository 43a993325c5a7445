# SPDX-License-Identifier: Apache-2.0
"""The demo: its small parts, and (slow) the whole job in a few iterations."""

import argparse
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
from PIL import Image

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


def test_the_picture_shows_predictions_and_tasks(demo, tmp_path):
    def write(path, value, size=(8, 8)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.broadcast_to(np.uint8(value), (*size, *np.shape(value)))).save(path)
        return str(path)

    pictures = {  # of one colour each, so that it can be found again
        name: (200, 10 * index, 77) for index, name in enumerate(demo['TASKS'])}
    files = {'image': write(tmp_path / 'image.png', (1, 250, 2)),
             'label': write(tmp_path / 'label.png', 0), 'domain': 'wet'}
    runs = [demo['Run'](title, tmp_path / stem, {}, True)
            for title, stem in demo['METHODS'].items()]
    for run in runs:
        write(run.folder / 'examples' / 'far.png', 1)
        (run.folder / 'examples' / 'far.json').write_text(json.dumps(files))
    for name, colour in pictures.items():
        write(tmp_path / 'crossearth_own_queries' / 'tasks' / f'{name}.png', colour)
    (tmp_path / 'crossearth_own_queries' / 'tasks' / 'tile.json').write_text(json.dumps(files))
    args = argparse.Namespace(source='dry_land', iters=3, out=tmp_path)
    drawn = np.array(Image.open(demo['draw'](runs, tmp_path / 'demo.png', args)))

    def corner(colour):
        return [int(place.min()) for place in np.nonzero((drawn == colour).all(-1))]

    tasks = [corner(colour) for colour in pictures.values()]
    assert tasks == sorted(tasks, key=lambda place: place[1])  # left to right
    assert len({row for row, _ in tasks}) == 1
    assert corner((1, 250, 2))[0] < tasks[0][0]  # below the tiles of unseen climates
    assert corner((1, 250, 2))[1] == tasks[0][1]


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
    picture = tmp_path / 'demo' / 'demo.png'
    assert str(picture) in first.stdout.replace('\n', '')
    assert picture.stat().st_size > 20_000
    tasks = tmp_path / 'demo' / 'crossearth_own_queries' / 'tasks'
    tile, restyled, masked = (
        np.array(Image.open(tasks / f'{name}.png')) for name in ('X', 'X_S', 'X_M'))
    assert 0 < (tile != restyled).any(-1).mean() < (tile != masked).any(-1).mean()
    assert not (tmp_path / 'demo' / 'rein_own_queries' / 'tasks').exists()
    for name in ('crossearth_own_queries', 'rein_own_queries', 'frozen'):
        checkpoint = next((tmp_path / 'demo' / name).glob('iter_*.pth'))
        assert checkpoint.stat().st_size < 120e6
    started = time.time()
    second = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    assert 'Reused, trained before' in second.stdout
    assert time.time() - started < 120
