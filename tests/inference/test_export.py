# SPDX-License-Identifier: Apache-2.0
"""Exported models: the same scores as torch, in our runtime and in a program of someone else."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from bundles import tiny_bundle
from rasters import write_raster

from crossearth.cli.main import main
from crossearth.errors import BundleError, ConfigError, MissingDependencyError
from crossearth.inference import export
from crossearth.inference.bundle import load_predictor
from crossearth.inference.card import read_card
from crossearth.inference.export import export_onnx, export_pt2
from crossearth.inference.onnx_runtime import OnnxScorer, load_onnx_predictor
from crossearth.inference.predictor import Predictor

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

TOLERANCE = 1e-3


@pytest.fixture(scope='session')
def bundle(tmp_path_factory) -> Path:
    """A bundle with its ONNX file, made by the command."""
    folder = tiny_bundle(tmp_path_factory.mktemp('exported'))
    assert main(['export', 'onnx', str(folder)]) == 0
    return folder


def images(n, h=64, w=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 3, h, w), np.uint8)


@pytest.mark.parametrize(('n', 'h', 'w', 'tta'), [
    (1, 64, 64, 'none'), (3, 64, 64, 'none'), (2, 40, 51, 'none'), (1, 64, 64, 'd4')])
def test_onnx_gives_the_scores_of_torch(bundle, n, h, w, tta):
    expected = load_predictor(bundle, device='cpu', tta=tta)(images(n, h, w))
    found = load_onnx_predictor(bundle, tta=tta)(images(n, h, w))
    assert expected.std() > 10 * TOLERANCE  # otherwise any model would do
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_the_command_maps_with_the_exported_file_as_with_torch(bundle, tmp_path, monkeypatch):
    blocks = images(1, 4, 6)[0].repeat(25, 1).repeat(25, 2)
    scene = write_raster(tmp_path / 'scene.tif', blocks)

    def label(runtime: str) -> np.ndarray:
        path = tmp_path / f'{runtime}.tif'
        assert main(['predict', str(scene), '-m', str(bundle), '-o', str(path), '--device', 'cpu',
                     '--runtime', runtime]) == 0
        with rasterio.open(path) as file:
            return file.read(1)

    expected = label('torch')
    monkeypatch.setattr('crossearth.inference.bundle.TorchScorer.__call__',
                        lambda *_: pytest.fail('torch was used'))
    assert len(np.unique(expected)) > 1
    assert (label('onnx') == expected).mean() > 0.999  # scores differ by rounding


def test_logits_are_exported_as_probabilities(bundle):
    card = read_card(bundle)
    model = export.build_network(bundle, card)
    logits = export._Scores(model, type(card)(**{**card.__dict__, 'output': 'logits'}))
    image = torch.rand(1, 3, 64, 64)
    expected = export._Scores(model, card)(image).softmax(1)
    torch.testing.assert_close(logits(image), expected)


@pytest.mark.slow
def test_a_pt2_program_gives_the_scores_of_torch(bundle, tmp_path):
    extra = {'metadata.json': ''}
    path = export_pt2(bundle, tmp_path / 'model.pt2')
    program = torch.export.load(path, extra_files=extra)
    expected = load_predictor(bundle, device='cpu')(images(3))
    with torch.no_grad():
        found = program.module()(torch.from_numpy(images(3)) / 255).numpy()
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    assert json.loads(extra['metadata.json'])['bundle_sha256'] == read_card(bundle).sha256
    assert [p.name for p in tmp_path.iterdir()] == ['model.pt2']


def test_the_file_says_what_deepness_and_geodeep_ask_for(bundle):
    model = onnx.load(bundle / 'model.onnx')
    onnx.checker.check_model(model)
    shapes = [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
              for value in (*model.graph.input, *model.graph.output)]
    assert shapes == [['batch', 3, 64, 64]] * 2
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(found['model_type']) == 'Segmentor'
    assert json.loads(found['class_names']) == {'0': 'water', '1': 'built', '2': 'forest'}
    assert (float(found['resolution']), int(found['tile_size'])) == (50, 64)  # cm, px
    assert (int(found['tiles_overlap']), float(found['seg_thresh'])) == (25, 0)
    assert json.loads(found['standardization_mean']) == [0, 0, 0]
    assert json.loads(found['standardization_std']) == [1, 1, 1]
    assert not any(node.metadata_props for node in model.graph.node)


def test_what_the_card_does_not_know_is_left_out(bundle):
    card = read_card(bundle)
    unknown = type(card)(**{**card.__dict__, 'gsd_m': None, 'overlap': 32})
    found = export.onnx_metadata(unknown, 64)
    assert 'resolution' not in found
    assert found['tiles_overlap'] == '50'


def test_a_tile_is_square_and_of_a_size_that_needs_no_padding(bundle):
    card = read_card(bundle)
    model = export.build_network(bundle, card)
    for crop, side in (([64, 64], 64), ([500, 100], 512), ([20, 30], 64), ([65, 64], 96)):
        assert export._Scores(model, type(card)(**{**card.__dict__, 'crop': crop})).side == side


def test_a_larger_tile_than_that_of_the_export_is_refused(bundle):
    with pytest.raises(ConfigError, match=r'64 x 64 px and no larger.*--tile 64'):
        load_onnx_predictor(bundle)(images(1, 65, 64))


def test_an_export_of_other_weights_is_refused(bundle, tmp_path):
    other = tiny_bundle(tmp_path / 'other', classes=['a', 'b', 'c'])
    with pytest.raises(BundleError, match=r'no model\.onnx.*crossearth export onnx'):
        load_onnx_predictor(other)
    card = read_card(other)
    stranger = type(card)(**{**card.__dict__, 'sha256': 'f' * 64})
    with pytest.raises(BundleError, match='those of the bundle are ffff'):
        OnnxScorer(bundle / 'model.onnx', stranger)
    (other / 'model.onnx').write_bytes(b'junk')
    with pytest.raises(BundleError, match='cannot be loaded by onnxruntime'):
        load_onnx_predictor(other)


def test_an_exhausted_memory_halves_the_batch(bundle):
    predictor = load_onnx_predictor(bundle)
    expected, session = predictor(images(2)), predictor.scorer.session

    class Small:
        """Fails as the runtime does when a batch is too large for it."""

        def run(self, names, feeds):
            if len(feeds['images']) > 1:
                raise Exception('Failed to allocate memory for requested buffer of size 1')
            return session.run(names, feeds)

    predictor.scorer.session = Small()
    np.testing.assert_allclose(predictor(images(2)), expected, atol=TOLERANCE)
    assert predictor.max_batch == 1


def test_an_existing_file_is_not_replaced_unasked(bundle):
    before = (bundle / 'model.onnx').read_bytes()
    with pytest.raises(BundleError, match='--overwrite'):
        export_onnx(bundle)
    assert (bundle / 'model.onnx').read_bytes() == before


def test_weights_too_large_for_a_file_are_refused(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(export, 'MAX_BYTES', 1000)
    with pytest.raises(BundleError, match=r'at most 2 GB.*Export it as pt2'):
        export_onnx(bundle, tmp_path / 'model.onnx')


@pytest.mark.parametrize(('write', 'name'), [(export_onnx, 'ONNX'), (export_pt2, 'pt2')])
def test_a_model_that_decides_by_its_input_is_refused_and_nothing_is_left(
        bundle, tmp_path, monkeypatch, write, name):
    def dark(self, images):
        return images if images.sum() > 0 else -images

    monkeypatch.setattr(export._Scores, 'forward', dark)
    with pytest.raises(BundleError, match=f'cannot export this model as {name}.*may depend on'):
        write(bundle, tmp_path / 'model')
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(MissingDependencyError, match=r'onnxruntime.*crossearth\[export\]'):
        load_onnx_predictor(bundle)
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(MissingDependencyError, match=r'onnxscript.*crossearth\[export\]'):
        export_onnx(bundle, tmp_path / 'model.onnx')


@pytest.mark.skipif(importlib.util.find_spec('geodeep') is None,
                    reason='needs geodeep: pip install --no-deps geodeep')
def test_geodeep_makes_the_same_map(bundle, tmp_path):
    import geodeep

    image = images(1, seed=6)[0, :, ::16, ::16].repeat(16, 1).repeat(16, 2)
    scene = write_raster(tmp_path / 'scene.tif', image, photometric='RGB')
    mask = geodeep.segment(str(scene), str(bundle / 'model.onnx'))
    label = load_predictor(bundle, device='cpu')(image[None])[0].argmax(0)
    assert len(np.unique(label)) > 1
    assert mask.shape == label.shape
    expected = sys.modules['geodeep.geodeep'].median_filter(label.astype(np.uint8), 5)
    assert (mask == expected).mean() > 0.99  # it smooths its map; scores differ by rounding


def test_a_predictor_pads_to_the_one_size_of_its_scorer():
    seen = []

    def scorer(batch):
        seen.append(batch.shape)
        return batch

    scorer.size = (96, 96)
    batch = images(2, 40, 51)
    np.testing.assert_array_equal(Predictor(scorer, 3)(batch), batch)
    assert seen == [(2, 3, 96, 96)]
