# SPDX-License-Identifier: Apache-2.0
"""tools/analyze.py on a tiny trained model: every command writes its files, or says why not."""

import sys

import numpy as np
import pytest
import torch
from fake_runs import fake_report, write_run
from fake_tools import load_tool
from mmengine.config import Config

from crossearth.engine.bundling import load_trained
from crossearth.engine.config import load_config
from crossearth.errors import CheckpointError, ConfigError, DataError
from crossearth.inference.bundle import write_bundle
from crossearth.registry import MODELS
from crossearth.visualization.attention_maps import injector_attention
from crossearth.visualization.subjects import load_subject
from crossearth.visualization.tiles import read_tiles

OPTIONS = ('--cfg-options', 'model.backbone.frozen=False')


@pytest.fixture
def config(tiny_config) -> Config:
    return load_config(tiny_config, {'model.backbone.frozen': False})


@pytest.fixture
def checkpoint(config, tmp_path):
    """A checkpoint of a model that was never trained."""
    from crossearth.engine.complete import complete_config

    path = tmp_path / 'iter_2.pth'
    model = MODELS.build(complete_config(config).model)
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    return path


@pytest.fixture
def analyze(tiny_config, monkeypatch, tmp_path):
    tool = load_tool('analyze', monkeypatch)

    def call(command, *arguments):
        monkeypatch.setattr(sys, 'argv', [
            'analyze.py', command, *map(str, arguments), '-o', str(tmp_path / 'out')])
        tool.main()
        return {path.name for path in (tmp_path / 'out').iterdir()}

    return call


@pytest.mark.parametrize(('command', 'files', 'options'), [
    ('umap', {'umap_domains.png', 'umap_classes.png', 'umap.csv', 'umap_numbers.csv'},
     ('--method', 'pca', '--pixels', '8', '--layer', 'backbone.blocks.1')),
    ('features', {'features.png', 'features.csv'}, ('--layer', 'decode_head.pixel_decoder')),
    ('maps', {'maps.png', 'maps.csv'}, ('--domains', 'wet')),
    ('attention', {'attention.png', 'attention.csv'}, ('--places', '0.5,0.1', '--block', '2')),
    ('errors', {'errors.png', 'errors.csv', 'reliability.png', 'reliability.csv'}, ())])
def test_commands_of_models(analyze, tiny_config, checkpoint, command, files, options):
    if command == 'umap':
        pytest.importorskip('sklearn', reason='scikit-learn is of the extra viz')
    assert analyze(command, tiny_config, f'Ours={checkpoint}', '--device', 'cpu', *options,
                   *OPTIONS) == files


def test_commands_of_reports(analyze, tmp_path):
    report = write_run(tmp_path / 'w' / 'rein' / 'seed3', 'seed3', fake_report(
        'dry', {'dry': 60, 'wet': 40, 'cold': 20}), method='Rein', seed=3)
    assert analyze('confusion', report) == {
        'confusion.png', 'confusion_counts.png', 'confusion.csv'}
    assert {'radar_1_dry.png', 'radar.csv'} < analyze('radar', tmp_path / 'w')
    assert 'Rein (rein)' in (tmp_path / 'out' / 'radar.csv').read_text()
    (tmp_path / 'none').mkdir()
    with pytest.raises(DataError, match='no report of a test'):
        analyze('radar', tmp_path / 'none')


def test_bundle_and_checkpoint_are_the_same_model(config, checkpoint, tmp_path):
    tiles = read_tiles(config)
    bundle = write_bundle(tmp_path / 'bundle', *load_trained(config, checkpoint))
    ours, theirs = (load_subject(str(path), config, tiles.classes, 'cpu')
                    for path in (checkpoint, bundle))
    image, size = tiles.tiles[0].image, tiles.tiles[0].label.shape
    np.testing.assert_array_equal(ours.scores(image, size), theirs.scores(image, size))
    np.testing.assert_allclose(ours.scores(image, size).sum(0), 1, atol=1e-5)
    assert [tile.domain for tile in tiles.tiles] == ['dry'] * 3 + ['wet'] * 2
    assert tiles.source == ['dry']


def test_layers_are_those_of_the_network(config, checkpoint):
    subject = load_subject(str(checkpoint), config, ('low', 'high'), 'cpu')
    image = read_tiles(config, 1).tiles[0].image
    maps = subject.network.extract_feat(subject._inputs(image))[0]
    np.testing.assert_allclose(
        subject.features(image, 'out1'), maps[1][0].permute(1, 2, 0).numpy(), atol=1e-6)
    assert subject.features(image, 'backbone.blocks.0').shape == (2, 2, 32)
    for layer, words in (('out9', 'Choose out0 to out3'), ('backbone.blok', 'Did you mean'),
                         ('decode_head.cls_embed', 'gives no feature map')):
        with pytest.raises(ConfigError, match=words):
            subject.features(image, layer)


def test_attention_explains_what_the_injector_adds(config, checkpoint):
    subject = load_subject(str(checkpoint), config, ('low', 'high'), 'cpu')
    image = read_tiles(config, 1).tiles[0].image
    shares = injector_attention(subject, image)
    assert shares.shape == (2, 2, 2, 2)
    np.testing.assert_allclose(shares.sum((2, 3)), 1, atol=1e-6)
    assert not np.allclose(shares, injector_attention(subject, image, 0))
    with pytest.raises(ConfigError, match='acts after the blocks 0, 1, 2, 3'):
        injector_attention(subject, image, 7)
    subject.network.backbone.injector = None
    with pytest.raises(ConfigError, match='has no Injector'):
        injector_attention(subject, image)


def test_what_does_not_fit_is_said(config, checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match='neither a bundle nor a checkpoint'):
        load_subject(f'X={tmp_path}/none', config, ('low', 'high'), 'cpu')
    with pytest.raises(ConfigError, match='but the data have soil'):
        load_subject(str(checkpoint), config, ('soil',), 'cpu')
    with pytest.raises(ConfigError, match=r"has no domain 'dri'.* Did you mean 'dry'"):
        read_tiles(config, domains=['dri'])
