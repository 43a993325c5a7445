# SPDX-License-Identifier: Apache-2.0
"""Names of the tensors of DINOv2 and DINOv3, as Meta, timm and transformers write them.

All are translated to one: of DINOv2 to the names of Meta's files, of DINOv3 to timm's. Only names
change and fused matrices are put together; no value is computed anew.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ['dinov2_from_timm', 'dinov2_from_transformers', 'dinov3_from_meta',
           'dinov3_from_transformers']

State = Mapping[str, Tensor]

LAYER = re.compile(r'(?:encoder\.|model\.)?layer\.(\d+)\.(.+)')
DINOV2_STEM = {
    'embeddings.cls_token': 'cls_token',
    'embeddings.mask_token': 'mask_token',
    'embeddings.register_tokens': 'register_tokens',
    'embeddings.position_embeddings': 'pos_embed',
    'embeddings.patch_embeddings.projection.weight': 'patch_embed.proj.weight',
    'embeddings.patch_embeddings.projection.bias': 'patch_embed.proj.bias',
    'layernorm.weight': 'norm.weight',
    'layernorm.bias': 'norm.bias',
}
DINOV2_BLOCK = {
    'attention.output.dense': 'attn.proj',
    'layer_scale1.lambda1': 'ls1.gamma',
    'layer_scale2.lambda1': 'ls2.gamma',
    'mlp.weights_in': 'mlp.w12',
    'mlp.weights_out': 'mlp.w3',
}
DINOV3_STEM = {
    'embeddings.cls_token': 'cls_token',
    'embeddings.register_tokens': 'reg_token',
    'embeddings.patch_embeddings.weight': 'patch_embed.proj.weight',
    'embeddings.patch_embeddings.bias': 'patch_embed.proj.bias',
}
DINOV3_BLOCK = {
    'attention.o_proj': 'attn.proj',
    'layer_scale1.lambda1': 'gamma_1',
    'layer_scale2.lambda1': 'gamma_2',
    'mlp.up_proj': 'mlp.fc1',
    'mlp.down_proj': 'mlp.fc2',
}
# of pre-training, computed from nothing, or constant: no backbone needs them
DINOV3_DROPPED = re.compile(
    r'(embeddings\.)?mask_token|(model\.)?rope_embed(dings)?\..*|.*\.bias_mask|local_cls_norm\..*')


def dinov2_from_timm(state: State) -> dict[str, Tensor]:
    """Rename the tensors of a timm DINOv2; with registers, its class token holds its position."""
    renamed = {}
    for name, tensor in state.items():
        if 'blocks.0.mlp.fc2.weight' in state and _packed_swiglu(state):
            name = name.replace('.mlp.fc1.', '.mlp.w12.').replace('.mlp.fc2.', '.mlp.w3.')
        renamed['register_tokens' if name == 'reg_token' else name] = tensor
    if 'reg_token' in state and 'pos_embed' in state:
        pos = state['pos_embed']
        renamed['pos_embed'] = torch.cat([pos.new_zeros(1, 1, pos.shape[-1]), pos], dim=1)
    return renamed


def _packed_swiglu(state: State) -> bool:
    inner, outer = (state[f'blocks.0.mlp.{layer}.weight'].shape for layer in ('fc1', 'fc2'))
    return len(inner) == len(outer) == 2 and inner[0] == 2 * outer[1]


def dinov2_from_transformers(state: State) -> dict[str, Tensor]:
    """Rename the tensors of `Dinov2Model` and `Dinov2WithRegistersModel`, and fuse q, k and v."""
    renamed = _rename(state, DINOV2_STEM, DINOV2_BLOCK)
    for index in _layers(renamed):
        for kind in ('weight', 'bias'):
            _fuse(renamed, index, kind, f'blocks.{index}.attention.attention.{{}}.{kind}',
                  ('query', 'key', 'value'))
    return renamed


def dinov3_from_transformers(state: State) -> dict[str, Tensor]:
    """Rename the tensors of `DINOv3ViTModel`, and fuse q, k and v."""
    kept = {name: tensor for name, tensor in state.items() if not DINOV3_DROPPED.fullmatch(name)}
    renamed = _rename(kept, DINOV3_STEM, DINOV3_BLOCK)
    for index in _layers(renamed):
        pattern = f'blocks.{index}.attention.{{}}_proj'
        _fuse(renamed, index, 'weight', f'{pattern}.weight', ('q', 'k', 'v'))
        for part in 'qv':
            bias = renamed.pop(f'{pattern}.bias'.format(part), None)
            if bias is not None:
                renamed[f'blocks.{index}.attn.{part}_bias'] = bias
        renamed.pop(f'{pattern}.bias'.format('k'), None)  # always zero
    return _without_zero_biases(renamed)


def dinov3_from_meta(state: State) -> dict[str, Tensor]:
    """Rename the tensors of Meta's DINOv3 files; the bias of the keys is masked there."""
    renamed = {}
    for name, tensor in state.items():
        if DINOV3_DROPPED.fullmatch(name):
            continue
        if name.endswith('.attn.qkv.bias'):
            block = name.removesuffix('qkv.bias')
            renamed[f'{block}q_bias'], _, renamed[f'{block}v_bias'] = tensor.chunk(3)
            continue
        name = re.sub(r'\.ls([12])\.gamma$', r'.gamma_\1', name)
        renamed['reg_token' if name == 'storage_tokens' else name] = tensor
    return _without_zero_biases(renamed)


def _without_zero_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    # those of the published S, B and L are zero, and timm's models have none
    biases = [name for name in state if name.endswith(('.attn.q_bias', '.attn.v_bias'))]
    if any(state[name].any() for name in biases):
        return state
    return {name: tensor for name, tensor in state.items() if name not in biases}


def _rename(state: State, stem: Mapping[str, str], block: Mapping[str, str]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in state.items():
        if match := LAYER.fullmatch(name):
            index, inner = match.groups()
            for theirs, ours in block.items():
                if inner == theirs or inner.startswith(f'{theirs}.'):
                    inner = ours + inner[len(theirs):]
            renamed[f'blocks.{index}.{inner}'] = tensor
        else:
            renamed[stem.get(name, name)] = tensor
    return renamed


def _layers(state: State) -> list[str]:
    return sorted({name.split('.')[1] for name in state if name.startswith('blocks.')}, key=int)


def _fuse(
    state: dict[str, Tensor], index: str, kind: str, pattern: str, parts: tuple[str, ...]
) -> None:
    """Put three matrices into `attn.qkv`, if all three are there and alike."""
    names = [pattern.format(part) for part in parts]
    if all(name in state for name in names) and len({state[n].shape[1:] for n in names}) == 1:
        state[f'blocks.{index}.attn.qkv.{kind}'] = torch.cat([state.pop(name) for name in names])
