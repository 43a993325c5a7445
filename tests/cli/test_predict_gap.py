# SPDX-License-Identifier: Apache-2.0
"""`crossearth predict --gap`."""

import json

import numpy as np
import pytest
from inference.bundles import coloured_tiles, described_bundle, tiny_bundle
from inference.rasters import write_raster

from crossearth.cli.main import main

FAR = (120, 0, -40)


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return described_bundle(tmp_path_factory.mktemp('described') / 'bundle')


def scene(path, **options):
    path.parent.mkdir(exist_ok=True)
    return write_raster(path, np.concatenate(list(coloured_tiles(12, 3, **options)), axis=2))


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_the_report_places_each_scene_as_the_command_gap_does(bundle, tmp_path, capsys):
    near = scene(tmp_path / 'scenes' / 'near.tif')
    far = scene(tmp_path / 'scenes' / 'far.tif', tint=FAR)
    assert run('predict', near.parent, '-m', bundle, '-o', tmp_path / 'maps', '--gap', '--json',
               '--device', 'cpu') == 0
    report = json.loads(capsys.readouterr().out)
    found = {entry['source']: entry['gap'] for entry in report['scenes']}
    for path in (near, far):
        assert run('gap', path, '-m', bundle, '--json', '--device', 'cpu') == 0
        expected = json.loads(capsys.readouterr().out)
        gap = found[str(path)]
        assert {**gap, 'source': str(path)} == {
            **expected['scenes'][0], 'reference': 'dry', 'notes': []}
        assert report['scale'] == expected['scale']
    assert found[str(far)]['style']['shift'] > 2 * found[str(near)]['style']['shift']
    assert found[str(far)]['verdict'].startswith('farther than')


def test_the_text_says_it_before_the_files(bundle, tmp_path, capsys):
    out = tmp_path / 'map.tif'
    arguments = ('predict', scene(tmp_path / 'far.tif', tint=FAR), '-m', bundle, '-o', out, '--gap')
    assert run(*arguments) == 0
    first = capsys.readouterr().out.splitlines()
    assert run(*arguments, '--resume') == 0
    again = capsys.readouterr().out.splitlines()
    place = [number for number, line in enumerate(first) if line.startswith('  gap to dry, 12')]
    assert len(place) == 1
    lines = first[place[0]:place[0] + 3]
    assert ['style shift' in lines[0], 'features shift' in lines[0]] == [True, True]
    assert '(100% outside)' in lines[0]
    assert lines[1].startswith('  known gaps (style): above 2.11 (the most different')
    assert lines[2].startswith('  verdict (style): farther than')
    assert first[place[0] + 3] == f'-> {out}'
    assert again[:4] == ['  finished before:', *lines]


def test_a_bundle_without_statistics_says_so_and_predicts(tmp_path, capsys):
    bundle, out = tiny_bundle(tmp_path / 'bundle'), tmp_path / 'map.tif'
    assert run('predict', scene(tmp_path / 'in.tif'), '-m', bundle, '-o', out, '--gap') == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if 'gap' in line]
    assert line.startswith(f'  note: the gap is not known. {bundle}: the card holds no statistics')
    assert 'crossearth gap SCENE --reference DIR' in line
    assert out.is_file()
