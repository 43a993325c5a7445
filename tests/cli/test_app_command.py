# SPDX-License-Identifier: Apache-2.0
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from app.page_server import Client, colors
from inference.bundles import tiny_bundle
from inference.rasters import write_raster

from crossearth.cli import app
from crossearth.cli.main import main


@pytest.fixture(scope='module')
def bundle(tmp_path_factory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp('bundle'))


@pytest.fixture
def start(bundle, tmp_path):
    """Start the command; the process, a client and what it said."""
    running = []

    def run(*arguments):
        process = subprocess.Popen(
            [sys.executable, '-m', 'crossearth', 'app', '-m', str(bundle), '--port', '0',
             '--device', 'cpu', *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, 'TMPDIR': str(tmp_path), 'OMP_NUM_THREADS': '1'})
        running.append(process)
        line = process.stdout.readline()
        assert line, process.stderr.read()
        return process, Client(int(re.fullmatch(r'-> http://\S+:(\d+) .*\n', line)[1]))

    yield run
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_page_for_this_machine_that_leaves_nothing_behind(start, tmp_path, number, status):
    process, client = start()
    with pytest.raises(ConnectionRefusedError):  # every address of 127.* is this machine's
        socket.create_connection(('127.0.0.2', client.port), 5)
    job = client.map(write_raster(tmp_path / 'scene.tif', colors(70, 90)))
    assert job['state'] == 'done'
    assert sum(entry['pixels'] for entry in job['result']['classes']) == 70 * 90
    assert 'no statistics of its training domain' in job['result']['gap']['error']
    folder = next(tmp_path.glob('crossearth-*'))
    assert (folder / job['id'] / 'map.tif').is_file()
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == status
    assert not folder.exists()


def test_results_can_be_kept_and_another_host_is_warned_about(start, tmp_path):
    process, client = start(
        '--host', '0.0.0.0', '--output', str(tmp_path / 'maps'), '--max-mb', '1')
    job = client.map(write_raster(tmp_path / 'scene.tif', colors(70, 90)))
    assert client.send(bytes(1_000_001))[0] == 413
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert 'warning: --host 0.0.0.0' in said
    assert 'no password' in said
    names = [path.name for path in (tmp_path / 'maps' / job['id']).iterdir()]
    assert {'map.tif', 'confidence.tif', 'polygons.gpkg'} <= set(names)
    assert not [name for name in names if name.startswith('upload')]


def test_a_taken_port_is_said_before_the_model_is_loaded(capsys):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(['app', '-m', 'no such bundle', '--port', port]) == 2
    assert f'--port {port} cannot be listened on' in capsys.readouterr().err


@pytest.mark.parametrize(('arguments', 'words'), [
    (['--max-mb', '0'], 'lets no file through'), (['--port', '99999'], 'cannot be listened on'),
    (['--host', 'no.such.host.invalid'], 'cannot be listened on'),
    (['--port', '0'], 'no such bundle')])
def test_wrong_arguments(arguments, words, capsys, monkeypatch):
    monkeypatch.setattr('crossearth.app.uploads.limit_gdal', lambda: None)
    assert main(['app', '-m', 'no such bundle', *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_missing_package_comes_with_the_pip_line(monkeypatch, capsys):
    monkeypatch.setattr(app, 'PACKAGES', ('no_such_package',))
    assert main(['app', '-m', 'x']) == 2
    assert "needs no_such_package. Run: pip install 'crossearth[app]'" in capsys.readouterr().err
