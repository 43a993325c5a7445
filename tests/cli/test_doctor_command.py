# SPDX-License-Identifier: Apache-2.0
import importlib
import importlib.metadata
import json
from collections import namedtuple

import pytest

from crossearth.cli import doctor
from crossearth.cli.main import main


@pytest.fixture
def installed(monkeypatch):
    """Versions by package; those that are set here come over those that are there."""
    pretended: dict[str, str | None] = {}
    version = importlib.metadata.version

    def pretend(name: str) -> str:
        found = pretended[name] if name in pretended else version(name)
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(importlib.metadata, 'version', pretend)
    return pretended


@pytest.fixture
def required(monkeypatch):
    """What the package asks for."""
    lines = ['numpy>=2.1', 'rasterio>=1.3; extra == "geo"', 'shapely>=2; extra == "geo"']
    monkeypatch.setattr(importlib.metadata, 'requires', lambda name: lines)
    return lines


def findings():
    return {finding.name: finding for finding in doctor.examine()}


def test_this_installation_is_sound(capsys):
    assert main(['doctor']) == 0
    said = capsys.readouterr().out
    assert said.rstrip().endswith('Nothing is broken.')
    assert main(['doctor', '--json']) == 0
    report = json.loads(capsys.readouterr().out)
    names = [entry['name'] for entry in report]
    assert {'crossearth', 'imports', 'cpu', 'cache'} <= set(names)
    assert all(entry['remedy'] for entry in report if entry['state'] != 'ok')


def test_missing_extras_come_with_the_pip_line(installed, required):
    installed['shapely'] = None
    found = findings()['extra geo']
    assert (found.state, found.remedy) == ('note', "pip install 'crossearth[geo]'")
    assert 'shapely' in found.detail
    assert 'rasterio' not in found.detail


def test_a_package_that_is_too_old_is_broken(installed, required, capsys):
    installed['numpy'] = '1.26.4'
    found = findings()['packages']
    assert (found.state, found.detail) == ('broken', 'numpy 1.26.4 (needs >=2.1)')
    assert main(['doctor']) == 1
    assert '1 broken.' in capsys.readouterr().out


def test_originals_beside_the_forks_are_broken(installed, required):
    installed['mmcv'] = '2.1.0'
    found = findings()['mmcv']
    assert found.state == 'broken'
    assert found.remedy.startswith('pip uninstall -y mmcv && pip install --force-reinstall')
    assert 'onedl-mmcv==' in found.remedy


def test_a_torchvision_that_does_not_fit_torch_is_broken(installed, required, monkeypatch):
    installed['torchvision'] = '0.15.0'
    load = importlib.import_module

    def refuse(name: str, *arguments: object):
        if name == 'torchvision':
            raise RuntimeError('operator torchvision::nms does not exist\nmore')
        return load(name, *arguments)

    monkeypatch.setattr(importlib, 'import_module', refuse)
    found = findings()['torchvision']
    assert found.state == 'broken'
    assert 'operator torchvision::nms does not exist' in found.detail
    assert 'pip uninstall -y torchvision' in found.remedy


def test_a_package_that_cannot_be_imported_is_broken(required, monkeypatch):
    monkeypatch.setattr(doctor, 'IMPORTED', ('numpy', 'no_such_package'))
    found = findings()
    assert found['no_such_package'].state == 'broken'
    assert 'imports' not in found


def test_two_opencvs_and_a_full_disk_are_notes(installed, required, monkeypatch):
    installed['opencv-python-headless'] = '4.10'
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr('shutil.disk_usage', lambda _: usage(1, 1, 10**8))
    found = findings()
    assert found['opencv'].state == 'note'
    assert (found['cache'].state, found['cache'].remedy) == ('note', 'free space')


def test_a_run_from_a_folder_says_that_it_knows_less(installed, monkeypatch):
    def requires(name: str):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, 'requires', requires)
    assert 'not installed' in findings()['installation'].detail
