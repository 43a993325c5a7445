# SPDX-License-Identifier: Apache-2.0
"""Files out of packages: found without an import, checked by hash, written whole."""

import hashlib
import importlib.metadata
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open

from crossearth.errors import CheckpointError, MissingDependencyError
from crossearth.weight_files import (
    file_sha256,
    find_packaged,
    import_onnx,
    save_tensors,
    search_folders,
)

CONTENT = b'some weights'
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `nets` 1.0 that cannot be imported and holds `nets/net.onnx`."""
    (tmp_path / 'nets').mkdir()
    (tmp_path / 'nets' / '__init__.py').write_text('raise ImportError')
    (tmp_path / 'nets' / 'net.onnx').write_bytes(CONTENT)
    distribution = SimpleNamespace(version='1.0', locate_file=tmp_path.joinpath)
    monkeypatch.setattr(importlib.metadata, 'distribution', lambda name: distribution)
    return distribution


def test_packaged_file_is_found(package, tmp_path):
    assert find_packaged('nets', '1.0', 'nets/net.onnx', HASH) == tmp_path / 'nets/net.onnx'
    assert file_sha256(tmp_path / 'nets/net.onnx') == HASH


def test_package_missing():
    with pytest.raises(MissingDependencyError, match=r'which is not installed\. Run: pip install '
                                                     r'--no-deps no-such-package==1\.0\.'):
        find_packaged('no-such-package', '1.0', 'net.onnx', HASH)


def test_other_version(package):
    package.version = '2.0'
    with pytest.raises(MissingDependencyError, match=r'installed as 2\.0.*nets==1\.0'):
        find_packaged('nets', '1.0', 'nets/net.onnx', HASH)


def test_package_without_the_file(package):
    with pytest.raises(MissingDependencyError, match=r'lacks nets/other\.onnx'):
        find_packaged('nets', '1.0', 'nets/other.onnx', HASH)


def test_other_content(package, tmp_path):
    (tmp_path / 'nets/net.onnx').write_bytes(b'other weights')
    with pytest.raises(CheckpointError, match=r'has the sha256 \w+, expected .*--force-reinstall'):
        find_packaged('nets', '1.0', 'nets/net.onnx', HASH)


def test_onnx_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'crossearth\[demo\]'"):
        import_onnx()


def test_tensors_are_saved_with_the_same_bytes_each_time(tmp_path):
    provenance = {'source': 'a', 'licence': 'b', 'note': 'c', 'more': 'd'}
    state = {'b': torch.ones(2), 'a': torch.zeros(3)}
    paths = [tmp_path / 'new' / name for name in ('1.safetensors', '2.safetensors')]
    for path in paths:
        save_tensors(state, path, provenance)
    assert file_sha256(paths[0]) == file_sha256(paths[1])
    with safe_open(paths[0], 'pt') as file:
        assert torch.equal(file.get_tensor('b'), torch.ones(2))


def test_failed_save_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    def full(self, target):
        assert self.is_file()
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'replace', full)
    path = tmp_path / 'net.safetensors'
    path.write_bytes(CONTENT)
    with pytest.raises(OSError, match='No space'):
        save_tensors({'a': torch.zeros(3)}, path, {})
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == CONTENT


def test_folders_of_weights_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv('CROSSEARTH_WEIGHTS', '~/mine')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    mine, *others = search_folders()
    assert mine.name == 'mine'
    assert '~' not in str(mine)
    assert [str(folder) for folder in others] == ['weights', str(tmp_path / 'crossearth')]
    monkeypatch.delenv('CROSSEARTH_WEIGHTS')
    assert search_folders() == others
