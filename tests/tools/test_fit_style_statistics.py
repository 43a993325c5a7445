# SPDX-License-Identifier: Apache-2.0
"""The tool as users call it."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crossearth.style.injection import StyleInjection
from crossearth.style.statistics import StyleStatistics

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'fit_style_statistics.py'


@pytest.fixture
def call(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for index in range(9):
        path = tmp_path / 'field' / f'{index}.png'
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 40 + 20 * index, (16, 16, 3), np.uint8)).save(path)

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['fit_style_statistics.py', *arguments])
        runpy.run_path(str(TOOL), run_name='__main__')

    return run


def test_fits_a_file_that_injection_takes(call, capsys, tmp_path):
    (tmp_path / 'field' / 'broken.png').write_text('x')
    call('field', '-o', 'out/s.safetensors', '--kind', 'reinhard_lab', '--batch', '4')
    said = ' '.join(capsys.readouterr().out.split())
    assert 'out/s.safetensors: 9 images of field, 6 entries' in said
    assert '1 files could not be read; they are listed in out/s.safetensors.skipped.txt' in said
    saved = StyleStatistics.load('out/s.safetensors')
    assert (saved.count, saved.dataset, saved.sources) == (9, 'field', ('field',))
    style = StyleInjection('reinhard_lab', statistics='out/s.safetensors', probability=1)
    assert style.draw()


def test_options(call):
    call('field', '-o', 's', '--kind', 'reinhard_lab', '--dataset', 'My tiles', '--limit', '8')
    saved = StyleStatistics.load('s')
    assert (saved.count, saved.dataset) == (8, 'My tiles')


@pytest.mark.parametrize(('arguments', 'hint'), [
    (('nowhere', '-o', 's', '--kind', 'reinhard_lab'), 'error: there is no folder or image'),
    (('field', '-o', 's', '--limit', '0'), '--limit must be at least 1'),
    (('field', '-o', 's', '--save-every', '0'), '--save-every must be at least 1'),
    (('field', '-o', 's', '--kind', 'jackson'), 'style=none')])
def test_errors_are_one_paragraph(call, capsys, monkeypatch, tmp_path, arguments, hint):
    for variable in ('CROSSEARTH_WEIGHTS', 'XDG_CACHE_HOME'):
        monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(SystemExit) as caught:
        call(*arguments)
    assert caught.value.code == 2
    assert hint in capsys.readouterr().err
