# SPDX-License-Identifier: Apache-2.0
"""`crossearth export onnx|pt2` as they are typed; an ONNX file is made in inference/test_export."""

import numpy as np
import pytest
import torch
from inference.bundles import tiny_bundle
from inference.rasters import rgb, write_raster

from crossearth.cli.main import main
from crossearth.inference.bundle import load_predictor


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp('bundle'))


@pytest.fixture(params=['onnx', 'pt2'])
def kind(request):
    if request.param == 'onnx':
        pytest.importorskip('onnxscript', reason='needs the extra export')
    return request.param


@pytest.mark.slow
def test_a_pt2_file_goes_where_it_is_told(bundle, tmp_path, capsys):
    path = tmp_path / 'new' / 'model.pt2'
    path.parent.mkdir()
    path.write_text('of an earlier export')
    assert run('export', 'pt2', bundle, '-o', path, '--overwrite') == 0
    assert capsys.readouterr().out.startswith(f'-> {path} (')
    images = rgb(64, 64)[None]
    with torch.no_grad():
        scores = torch.export.load(path).module()(torch.from_numpy(images).float() / 255)
    np.testing.assert_allclose(
        scores.numpy(), load_predictor(bundle, device='cpu')(images), atol=1e-3)


def test_an_existing_file_is_kept(bundle, tmp_path, capsys, kind):
    path = tmp_path / f'mine.{kind}'
    path.write_text('mine')
    assert run('export', kind, bundle, '-o', path) == 2
    assert '--overwrite' in capsys.readouterr().err
    assert path.read_text() == 'mine'


def test_a_folder_that_is_no_bundle_is_refused(tmp_path, capsys, kind):
    assert run('export', kind, tmp_path) == 2
    assert 'card.json' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_bundle_without_its_export_says_how_to_make_it(bundle, tmp_path, capsys):
    scene = write_raster(tmp_path / 'scene.tif', rgb(70, 70))
    assert run('predict', scene, '-m', bundle, '-o', tmp_path / 'map.tif', '--runtime', 'onnx') == 2
    assert f'crossearth export onnx {bundle}' in capsys.readouterr().err
