# SPDX-License-Identifier: Apache-2.0
"""Every config of the benchmark trains two steps and is tested, on generated data of its layout."""

from pathlib import Path

import pytest
from PIL import Image
from tiny_settings import run, shrink

from crossearth.benchmark import METHODS, settings_of
from crossearth.engine.config import load_config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FILES = [f'{method}/{path.stem}' for method in METHODS
         for path in sorted((CONFIGS / method).glob('*.py'))]


@pytest.mark.parametrize('name', FILES)
def test_config_trains_and_tests(name, benchmark_data, tmp_path):
    runner, report = run(shrink(load_config(CONFIGS / f'{name}.py')), tmp_path)
    settings = settings_of(Path(name).name)
    assert runner.iter == 2
    assert report['source'] == [settings[0].source.domain]
    assert {domain: row['num_samples'] for domain, row in report['domains'].items()} == {
        setting.target.domain: 2 for setting in settings}
    assert report['run']['checkpoint'] == 'iter_2.pth'
    assert report['run']['method'].startswith(METHODS[name.split('/')[0]])
    for setting in settings:
        folder = benchmark_data / setting.target.data_set / setting.target.split
        width, height = Image.open(
            next((folder / setting.target.domain / 'labels').glob('*'))).size
        counted = sum(map(sum, report['domains'][setting.target.domain]['confusion']))
        assert counted == 2 * width * (height - 1)  # at the size of the labels, last row ignored
