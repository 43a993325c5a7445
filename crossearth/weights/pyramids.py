# SPDX-License-Identifier: Apache-2.0
"""Files of ResNets and Mix Transformers: whose names they bear, and which architecture it is."""

import re
from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ['PYRAMIDS', 'pyramid_signature', 'pyramid_title', 'translate_pyramid']

State = Mapping[str, Tensor]

# (channels, blocks of the four stages); the channels are those of the first map
SIGNATURES: dict[str, dict[tuple[int, tuple[int, ...]], str]] = {
    'resnet': {
        (64, (2, 2, 2, 2)): 'resnet18_v1c',
        (64, (3, 4, 6, 3)): 'resnet34_v1c',
        (256, (3, 4, 6, 3)): 'resnet50_v1c',
        (256, (3, 4, 23, 3)): 'resnet101_v1c',
    },
    'mit': {
        (32, (2, 2, 2, 2)): 'mit_b0',
        (64, (2, 2, 2, 2)): 'mit_b1',
        (64, (3, 4, 6, 3)): 'mit_b2',
        (64, (3, 4, 18, 3)): 'mit_b3',
        (64, (3, 8, 27, 3)): 'mit_b4',
        (64, (3, 6, 40, 3)): 'mit_b5',
    },
}
PYRAMIDS = {'resnet': 'ResNet V1c', 'mit': 'Mix Transformer'}
"""Family -> its name in words."""

BLOCK = {
    'resnet': re.compile(r'layer(\d)\.(\d+)\.conv1\.weight'),
    'mit': re.compile(r'layers\.(\d)\.1\.(\d+)\.norm1\.weight'),
}
# SegFormer's release: `block2.0.attn.q.weight`; MMSegmentation: `layers.1.1.0.attn...`
SEGFORMER = re.compile(r'(patch_embed|block|norm)(\d)\.(.+)')
PLACES = {'patch_embed': 0, 'block': 1, 'norm': 2}
SEGFORMER_BLOCK = {
    'attn.proj.': 'attn.attn.out_proj.',
    'mlp.fc1.': 'ffn.layers.0.',
    'mlp.dwconv.dwconv.': 'ffn.layers.1.',
    'mlp.fc2.': 'ffn.layers.4.',
}


def translate_pyramid(state: State) -> tuple[str, str, dict[str, Tensor]] | None:
    """Name the tensors of a ResNet or Mix Transformer as MMSegmentation does.

    Args:
        state: Tensors as their file names them.

    Returns:
        Family, who named the tensors, and the renamed tensors; None if it is neither.
    """
    if 'patch_embed1.proj.weight' in state:
        return 'mit', 'SegFormer', _from_segformer(state)
    if 'layers.0.0.projection.weight' in state:
        return 'mit', '', dict(state)
    if 'stem.0.weight' in state and 'layer1.0.conv1.weight' in state:
        return 'resnet', '', dict(state)
    return None


def pyramid_signature(state: State, family: str) -> str:
    """The name of an architecture, such as `mit_b5`; empty if it is nobody's."""
    blocks = Counter(match[1] for name in state if (match := BLOCK[family].fullmatch(name)))
    key = (_channels(state, family), tuple(count for _, count in sorted(blocks.items())))
    return SIGNATURES[family].get(key, '')


def pyramid_title(state: State, family: str, naming: str) -> str:
    """What a file is, in words."""
    title = f'{PYRAMIDS[family]} {pyramid_signature(state, family) or "of an unknown size"}'
    return f'{title}, named as in {naming}' if naming else title


def _channels(state: State, family: str) -> int:
    if family == 'mit':
        kernel = state['layers.0.0.projection.weight']
    else:  # bottlenecks end with a third convolution
        kernel = state.get('layer1.0.conv3.weight', state['layer1.0.conv1.weight'])
    return kernel.shape[0] if kernel.ndim else 0


def _from_segformer(state: State) -> dict[str, Tensor]:
    """Rename, fuse q with k and v, and make 1x1 convolutions of the linear layers."""
    renamed = {}
    for name, tensor in state.items():
        if match := SEGFORMER.fullmatch(name):
            part, stage, rest = match.groups()
            if part == 'patch_embed':
                rest = rest.replace('proj.', 'projection.')
            for theirs, ours in SEGFORMER_BLOCK.items():
                rest = rest.replace(theirs, ours)
            if '.ffn.' in rest and tensor.ndim == 2:
                tensor = tensor[..., None, None]
            name = f'layers.{int(stage) - 1}.{PLACES[part]}.{rest}'
        renamed[name] = tensor
    for query in [name for name in renamed if '.attn.q.' in name]:
        rest = renamed.pop(query.replace('.q.', '.kv.'))
        renamed[query.replace('.q.', '.attn.in_proj_')] = torch.cat([renamed.pop(query), rest])
    return renamed
