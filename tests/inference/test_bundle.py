# SPDX-License-Identifier: Apache-2.0
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from inference.bundles import CARD, MODEL, tiny_bundle
from safetensors.torch import load_file, save_file

from crossearth.errors import BundleError, ConfigError
from crossearth.inference.bundle import TorchScorer, build_network, choose_device, load_predictor
from crossearth.inference.card import Card, read_card
from crossearth.registry import MODELS
from crossearth.weight_files import file_sha256


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp('bundle'))


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def change(bundle, folder, edit, **card):
    """A copy of a bundle with other tensors, whose hash is right again."""
    state = load_file(bundle / 'model.safetensors')
    edit(state)
    folder.mkdir(exist_ok=True)
    save_file(state, folder / 'model.safetensors')
    content = json.loads((bundle / 'card.json').read_bytes()) | card
    content['sha256'] = file_sha256(folder / 'model.safetensors')
    (folder / 'card.json').write_text(json.dumps(content))
    return folder


def test_a_bundle_holds_the_whole_model_and_gives_it_back(bundle):
    card = read_card(bundle)
    network = build_network(bundle, card)
    torch.manual_seed(1)
    other = MODELS.build(MODEL)  # other random values: all of them must come from the file
    assert not torch.equal(other.backbone.blocks[0].attn.qkv.weight,
                           network.backbone.blocks[0].attn.qkv.weight)
    state = load_file(bundle / 'model.safetensors')
    parameters = dict(network.named_parameters())
    assert parameters.keys() <= state.keys()
    for name, parameter in parameters.items():
        assert torch.equal(parameter, state[name]), name
        assert not parameter.requires_grad
    assert not network.training


def test_a_predictor_normalises_and_gives_shares_of_every_size(bundle):
    predictor = load_predictor(bundle, device='cpu')
    data = images(2, 3, 64, 96)
    card = predictor.card
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (card.mean, card.std))
    with torch.no_grad():
        expected = build_network(bundle, card).encode_decode(
            (torch.from_numpy(data).float() - mean) / std)
    np.testing.assert_allclose(predictor(data), expected.numpy(), atol=1e-5)
    assert predictor.num_classes == 3
    for height, width in ((1, 1), (65, 40)):
        scores = predictor(images(1, 3, height, width))
        assert scores.shape == (1, 3, height, width)
        assert scores.min() >= 0


def test_amp_is_near_and_logits_become_shares(bundle):
    data = images(1, 3, 64, 64)
    full = load_predictor(bundle, device='cpu')(data)
    half = load_predictor(bundle, device='cpu', amp=True)(data)
    assert half.dtype == np.float32
    assert not np.array_equal(half, full)
    assert np.abs(half - full).mean() < 0.1 * full.std()

    class Logits(torch.nn.Module):
        def encode_decode(self, inputs):
            return inputs * 10

    card = Card(**{**CARD, 'output': 'logits', 'mean': [0, 0, 0], 'std': [255, 255, 255]})
    scores = TorchScorer(Logits(), card, torch.device('cpu'))(data.astype(np.float32))
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)
    weights = np.exp(data / 25.5)
    np.testing.assert_allclose(scores, weights / weights.sum(1, keepdims=True), rtol=1e-4)


@pytest.mark.parametrize(('edit', 'message'), [
    (lambda state: state.pop(sorted(state)[0]), 'lacks backbone'),
    (lambda state: state.update(extra=torch.zeros(1)), 'holds the unknown extra'),
    (lambda state: state.update({sorted(state)[-1]: torch.zeros(7, 7, 7)}), 'other shapes of'),
])
def test_weights_that_do_not_fit_the_card_are_named(bundle, tmp_path, edit, message):
    folder = change(bundle, tmp_path / 'changed', edit)
    with pytest.raises(BundleError, match=message):
        load_predictor(folder, device='cpu')


def test_a_damaged_file_of_weights_is_refused(bundle, tmp_path):
    folder = change(bundle, tmp_path / 'changed', lambda state: None)
    content = (folder / 'model.safetensors').read_bytes()
    (folder / 'model.safetensors').write_bytes(content[:-100])
    with pytest.raises(BundleError, match='damaged or belongs to another card'):
        load_predictor(folder, device='cpu')
    with pytest.raises(BundleError, match='cannot be read'):
        build_network(folder, read_card(folder, verify=False))


@pytest.mark.parametrize(('model', 'message'), [
    ({'type': 'NoSuchModel'}, 'no model of this crossearth'),
    ({'type': 'Runner'}, 'no model of this crossearth'),
    ({**MODEL, 'surprise': 1}, 'cannot be built.*surprise'),
    ({**MODEL, 'backbone': {**MODEL['backbone'], 'injector': {'type': 'os.system'}}},
     'model.backbone.injector.type'),
])
def test_a_card_that_describes_no_model_of_ours_is_refused(bundle, tmp_path, model, message):
    folder = change(bundle, tmp_path / 'changed', lambda state: None, model=model)
    with pytest.raises(BundleError, match=message):
        load_predictor(folder, device='cpu')


def test_the_same_model_gives_the_same_bytes(tmp_path):
    first, second = (tiny_bundle(tmp_path / name) for name in 'ab')
    for name in ('card.json', 'model.safetensors'):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_devices_are_checked():
    assert choose_device('cpu') == torch.device('cpu')
    assert choose_device().type in ('cpu', 'cuda', 'mps')
    for name in ('warp', 'cuda:77'):
        with pytest.raises(ConfigError, match=f'--device {name} cannot be used'):
            choose_device(name)


def test_load_model_and_predict_raster_are_there_without_a_heavy_import(bundle, tmp_path):
    code = '''
import sys
import crossearth
assert 'torch' not in sys.modules and 'rasterio' not in sys.modules
from crossearth import load_model, predict_raster
import numpy as np
from inference.rasters import rgb, write_raster
from pathlib import Path
model = load_model(sys.argv[1], device='cpu')
out = Path(sys.argv[2])
report = predict_raster(write_raster(out / 'in.tif', rgb(70, 70)), model, out / 'map.tif')
print(report.tile, sum(report.pixels.values()))
'''
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, '-c', code, bundle, tmp_path], capture_output=True, text=True, check=False,
        env={**os.environ, 'PYTHONPATH': f'{tests}:{tests.parent}'})
    assert done.stdout.split() == ['64', '4900'], done.stderr
