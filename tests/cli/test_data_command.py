# SPDX-License-Identifier: Apache-2.0
import hashlib
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from file_server import serve
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / 'datasets'))
from official_copies import NAMES, encode, official_copy, zipped

from crossearth import download
from crossearth.benchmark import DATA_SETS
from crossearth.cli.main import main
from crossearth.datasets.prepare import RECIPES

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A data root with a prepared Massachusetts."""
    monkeypatch.setenv('CROSSEARTH_DATA', str(tmp_path / 'data'))
    monkeypatch.setenv('COLUMNS', '200')
    source = official_copy('massachusetts').write(tmp_path / 'src')
    assert main(['data', 'prepare', 'massachusetts', '--src', str(source), '--workers', '1']) == 0
    return tmp_path


def test_prepare_reports_and_names_the_next_command(home, capsys):
    source = official_copy('potsdam', 24).write(home / 'isprs', 'nested')
    out = home / 'out'
    arguments = ['potsdam', '--src', str(source), '--dst', str(out), '--domains', 'potsdam_irrg']
    assert main(['data', 'prepare', *arguments, '--workers', '1']) == 0
    text = capsys.readouterr().out
    assert ['train', 'potsdam_irrg', '2', '3456', '0'] in [line.split() for line in
                                                           text.splitlines()]
    assert '0 px of no class in the labels' in text
    command = text.splitlines()[-1].removeprefix('Next: crossearth ')
    assert main(command.split()) == 0


def test_pixels_of_no_class_are_printed_by_file_and_in_total(home, capsys):
    copy = official_copy('loveda')
    foreign = np.full((40, 40), 9, np.uint8)
    copy.archives['Val']['Val/Rural/masks_png/6.png'] = encode(foreign, '.png')
    source = copy.write(home / 'loveda')
    assert main(['data', 'prepare', 'loveda', '--src', str(source), '--workers', '1']) == 0
    text = capsys.readouterr().out
    assert 'loveda/Val.zip/Val/Rural/masks_png/6.png' in text
    assert '1600 px of no class' in text


def test_list_tells_what_is_prepared(home, capsys):
    assert main(['data', 'list']) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(lines) - {'name'} == set(DATA_SETS)
    assert lines['massachusetts'].split()[-1] == str(home / 'data/massachusetts')
    assert lines['potsdam'].split()[-1] == '-'
    assert 'potsdam_rgb, potsdam_irrg' in lines['potsdam5']


@pytest.mark.parametrize('name', DATA_SETS)
def test_info_names_the_facts_and_the_next_command(name, home, capsys):
    assert main(['data', 'info', name]) == 0
    facts, text = DATA_SETS[name], capsys.readouterr().out
    assert all(part in text for part in (
        facts.title, facts.url, facts.licence, *facts.md5.values(), *facts.classes,
        *(str(count) for count in facts.counts.values())))
    assert text.splitlines()[-1].startswith(
        f'    crossearth data {"check" if name == "massachusetts" else "prepare"} {name} ')


def test_check_is_status_0_or_1(home, capsys):
    assert main(['data', 'check', 'massachusetts']) == 0
    text = capsys.readouterr().out
    assert 'note: test of massachusetts has 2 images, 49 in the benchmark' in text
    assert text.splitlines()[-1].endswith('sound, but see the notes.')
    assert main(['data', 'check', 'massachusetts', '--complete']) == 1
    (home / 'data/massachusetts/test/massachusetts/labels/10378780_15.png').unlink()
    assert main(['data', 'check', 'massachusetts']) == 1
    text = capsys.readouterr().out
    assert 'TROUBLE: 1 of 2 images' in text
    assert text.splitlines()[-1].endswith('not in order.')


def test_shares_of_the_classes(home, capsys):
    labels = home / 'data/massachusetts/test/massachusetts/labels'
    counts = sum(np.bincount(np.asarray(Image.open(path)).ravel(), minlength=2)
                 for path in labels.iterdir())
    capsys.readouterr()
    main(['data', 'check', 'massachusetts'])
    rows = {line.split(' %')[0]: line.split()[-1]
            for line in capsys.readouterr().out.splitlines() if ' % ' in line}
    assert rows == {'background': f'{100 * counts[0] / counts.sum():.1f}',
                    'road': f'{100 * counts[1] / counts.sum():.1f}', 'ignored': '0.0'}


def test_options_reach_the_recipe(home, capsys):
    arguments = ['data', 'prepare', 'massachusetts', '--src', str(home / 'src')]
    assert main([*arguments, '--option', 'white=ignore']) == 2
    assert 'was begun as' in capsys.readouterr().err
    assert main([*arguments, '--option', 'white']) == 2
    assert 'white=score|ignore' in capsys.readouterr().err


def test_missing_source_prints_the_steps(home, capsys):
    assert main(['data', 'prepare', 'vaihingen']) == 2
    error = capsys.readouterr().err
    assert 'ISPRS_semantic_labeling_Vaihingen_ground_truth_eroded_COMPLETE.zip' in error
    assert not (home / 'data/vaihingen').exists()


def test_loveda_downloads_itself_and_goes_on_where_it_was(home, capsys, monkeypatch):
    archives = {f'{name}.zip': zipped(files)
                for name, files in official_copy('loveda').archives.items() if name != 'Test'}
    md5 = {name: hashlib.md5(data, usedforsecurity=False).hexdigest()
           for name, data in archives.items()}
    monkeypatch.setitem(DATA_SETS, 'loveda', replace(DATA_SETS['loveda'], md5=md5))
    monkeypatch.setattr(download, 'ATTEMPTS', 1)
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    out = home / 'loveda'
    arguments = ['data', 'prepare', 'loveda', '--download', '--dst', str(out), '--workers', '1']
    with serve({f'/{name}': data for name, data in archives.items()}) as server:
        urls = tuple(f'{server.root}/{name}' for name in archives)
        monkeypatch.setitem(RECIPES, 'loveda', replace(RECIPES['loveda'], downloads=urls))
        server.codes = (0, 503)
        assert main(arguments) == 2
        assert 'Val.zip: no connection' in capsys.readouterr().err
        assert main(arguments) == 0
        assert main(arguments) == 0
        assert server.requests == [None] * 3  # Train once, Val twice
    assert sorted(path.name for path in (out / 'downloads').iterdir()) == sorted(archives)
    assert main(['data', 'check', 'loveda', str(out)]) == 0


@pytest.mark.parametrize('name', NAMES)
def test_tool_is_the_same_command(name, home, capsys, monkeypatch):
    assert name in RECIPES
    monkeypatch.setattr(sys, 'argv', ['prepare', '--src', str(home / 'nowhere')])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / f'tools/prepare_{name}.py'), run_name='__main__')
    assert end.value.code == 2
    assert 'nowhere does not exist' in capsys.readouterr().err
