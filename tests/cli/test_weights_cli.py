# SPDX-License-Identifier: Apache-2.0
"""`crossearth weights`: its three actions on the command line."""

import argparse

import pytest
import torch
from file_server import serve_one
from made_weights import dinov2

from crossearth.cli.weights import add_parser
from crossearth.errors import CheckpointError
from crossearth.weight_files import file_sha256
from crossearth.weights import SOURCES, WeightSource


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('CROSSEARTH_WEIGHTS', str(tmp_path / 'weights'))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))

    def run(*arguments):
        parser = argparse.ArgumentParser()
        add_parser(parser.add_subparsers())
        args = parser.parse_args(['weights', *arguments])
        return args.run(args)

    return run


def test_list_says_what_is_here(weights, tmp_path, capsys):
    (tmp_path / 'weights').mkdir()
    (tmp_path / 'weights' / 'dinov2_vitb14_pretrain.pth').touch()
    assert weights('list') == 0
    lines = capsys.readouterr().out.splitlines()
    index = next(i for i, line in enumerate(lines) if line.startswith('  * '))
    assert lines[index].split()[:5] == ['*', 'dinov2_vitb14', '346', 'MB', 'Apache-2.0']
    assert lines[index + 1].strip() == str(tmp_path / 'weights' / 'dinov2_vitb14_pretrain.pth')
    assert sum(line.startswith('  * ') for line in lines) == 1
    listed = {line[4:].split()[0] for line in lines if line.startswith(('    ', '  * '))
              and not line.startswith('      ')}
    assert listed == {*SOURCES}
    assert any("accept Meta's licence at https://huggingface.co/facebook/" in x for x in lines)
    assert lines[-1].endswith(str(tmp_path / 'weights'))


def test_get_and_add(weights, tmp_path, capsys, monkeypatch):
    served = tmp_path / 'served.pth'
    torch.save(dinov2(weights='random').state_dict(), served)
    with serve_one(served.read_bytes()) as server:
        monkeypatch.setitem(SOURCES, 'tiny', WeightSource(
            name='tiny', file_name='tiny.pth', url=server.url, sha256='0' * 64, licence='MIT',
            note='a test'))
        assert weights('get', 'tiny', '--no-verify') == 0
    target = tmp_path / 'weights' / 'tiny.pth'
    assert capsys.readouterr().out == (
        f'{target}\nlicence: MIT\nsha256 {file_sha256(served)}, not verified\n')
    target.unlink()
    assert weights('add', str(served), '--as', 'tiny') == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(target)
    assert target.read_bytes() == served.read_bytes()
    with pytest.raises(CheckpointError, match='is not dinov2_vits14'):
        weights('add', str(served), '--as', 'dinov2_vits14')


@pytest.mark.parametrize('arguments', [[], ['get'], ['frobnicate']])
def test_wrong_arguments(weights, arguments, capsys):
    with pytest.raises(SystemExit):
        weights(*arguments)
    assert 'usage' in capsys.readouterr().err
