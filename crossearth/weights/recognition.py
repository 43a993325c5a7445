# SPDX-License-Identifier: Apache-2.0
"""Say what a file of weights is, whoever wrote it, and name its tensors as our models do."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from crossearth.errors import CheckpointError

from .names import (
    dinov2_from_timm,
    dinov2_from_transformers,
    dinov3_from_meta,
    dinov3_from_transformers,
)
from .pyramids import PYRAMIDS, pyramid_signature, pyramid_title, translate_pyramid
from .reading import Content, read_checkpoint

__all__ = ['PARTS', 'Recognised', 'read_recognised', 'recognise']

State = Mapping[str, Tensor]

# part -> how its names begin in a checkpoint of a segmentor; the first that fits counts
PARTS: dict[str, tuple[str, ...]] = {
    'adapters': ('backbone.reins.', 'backbone.adapter.', 'backbone.gse.', 'backbone.injector.'),
    'backbone': ('backbone.',),
    'head': ('decode_head.', 'auxiliary_head.'),
    # ours, then the authors': their `mask_token` is the image that fills masked pixels
    'mim': ('mim_head.', 'mask_draws.', 'prompt', 'task_head.', 'mask_token'),
    'style': ('style.', 'augmentor.'),
}
LETTERS = {384: 'S', 768: 'B', 1024: 'L', 1280: 'H+', 1536: 'g', 4096: '7B'}
DEPTHS = {'S': 12, 'B': 12, 'L': 24, 'H+': 32, 'g': 40, '7B': 40}
RVSA = re.compile(r'blocks\.\d+\.attn\.(sampling_offsets|full_attn_rel_pos_[hw]|rel_pos_[hw])\b.*')
STYLE_NETS = {
    'Conv2d_1a_3x3.conv.weight': 'style predictor of Jackson et al.',
    'layers.10.fc_gamma.weight': 'style transformer of Jackson et al.',
    'predictor.stem.weight': 'style networks of Magenta, as converted by CrossEarth',
}


@dataclass(frozen=True)
class Recognised:
    """A file of weights, understood.

    Args:
        kind: `dinov2`, `dinov3`, `rvsa`, `vit` (another vision transformer), `mit`, `resnet`,
            `checkpoint` (of a segmentor), `style` (networks) or `unknown`.
        title: What it is, in words.
        parts: Tensors by name by part of a segmentor: `backbone`, `adapters`, `head`, `mim`,
            `style`, `other`. Names are those of our models; names of the backbone have no
            `backbone.` before them.
        family: Kind of the backbone; empty if the file holds none.
        num_classes: Classes that the head knows; None without a head.
        grid: Side of the grid of position embeddings, in patches; None without.
        patch_size: Side of a patch in px; None without a backbone.
        signature: Architecture of the backbone in the form `dinov2_vitl14_reg4`; empty if unknown.
    """

    kind: str
    title: str
    parts: dict[str, dict[str, Tensor]] = field(repr=False)
    family: str = ''
    num_classes: int | None = None
    grid: int | None = None
    patch_size: int | None = None
    signature: str = ''


def read_recognised(path: str | Path, *, trust: bool = False) -> tuple[Content, Recognised]:
    """Read a file of weights and say what it is.

    Args:
        path: The file.
        trust: Load it even if it could run code.

    Raises:
        WeightsNotFoundError: There is no such file.
        UnsafeCheckpointError: The file would have to run code to be loaded.
        CheckpointError: It is damaged, or holds no tensors or contradictory ones.
    """
    content = read_checkpoint(path, trust=trust)
    try:
        return content, recognise(content.tensors)
    except CheckpointError as error:
        raise CheckpointError(f'{path}: {error}') from error


def recognise(state: State) -> Recognised:
    """Say what a state dict is.

    Args:
        state: Tensors as their file names them, see `read_checkpoint`.

    Raises:
        CheckpointError: Names and shapes of the tensors contradict each other.
    """
    for name, title in STYLE_NETS.items():
        if name in state:
            return Recognised('style', title, {'style': dict(state)})
    state = {name: tensor for name, tensor in state.items()
             if not name.startswith('data_preprocessor.')}
    if not any(part_of(name) in ('adapters', 'head') for name in state):
        return _backbone_file(state)
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        parts.setdefault(part_of(name), {})[name] = tensor
    raw = {name.removeprefix('backbone.'): t for name, t in parts.pop('backbone', {}).items()}
    family, naming, backbone = _canonical(raw)
    if backbone:
        parts['backbone'] = backbone
    return Recognised(
        'checkpoint', _checkpoint_title(parts, family, naming), parts,
        family=family, num_classes=_num_classes(parts.get('head', {})),
        grid=_grid(backbone), patch_size=_patch_size(backbone),
        signature=_signature(backbone, family))


def part_of(name: str) -> str:
    """The part of a segmentor that a name belongs to; `other` for none."""
    return next((part for part, starts in PARTS.items() if name.startswith(starts)), 'other')


def _backbone_file(state: State) -> Recognised:
    family, naming, backbone = _canonical(state)
    if not family:
        return Recognised('unknown', 'nothing that CrossEarth knows', {'other': dict(state)})
    return Recognised(
        family, _backbone_title(backbone, family, naming), {'backbone': backbone},
        family=family, grid=_grid(backbone), patch_size=_patch_size(backbone),
        signature=_signature(backbone, family))


def _canonical(state: State) -> tuple[str, str, dict[str, Tensor]]:
    """Family, who named the tensors, and the tensors under our names."""
    try:
        return _translate(state)
    except (IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            'the tensors are named as those of a known backbone, but have shapes that none has, '
            f'or are incomplete ({str(error).splitlines()[0]}). Download or convert the file '
            'again.') from error


def _translate(state: State) -> tuple[str, str, dict[str, Tensor]]:
    anchor = next((name for name in state if name.endswith((
        'patch_embed.proj.weight', 'embeddings.patch_embeddings.projection.weight',
        'embeddings.patch_embeddings.weight'))), None)
    if anchor is None:
        return translate_pyramid(state) or ('', '', dict(state))
    prefix = re.sub(r'(patch_embed\.proj|embeddings\.patch_embeddings(\.projection)?)\.weight$',
                    '', anchor)
    state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    if 'embeddings.patch_embeddings.projection.weight' in state:
        return 'dinov2', 'transformers', dinov2_from_transformers(state)
    if 'embeddings.patch_embeddings.weight' in state:
        return 'dinov3', 'transformers', dinov3_from_transformers(state)
    if any(RVSA.fullmatch(name) for name in state):
        return 'rvsa', '', dict(state)
    if 'storage_tokens' in state:
        return 'dinov3', 'Meta', dinov3_from_meta(state)
    if 'reg_token' in state and 'pos_embed' not in state:
        return 'dinov3', 'timm', dict(state)
    if 'blocks.0.ls1.gamma' not in state or 'pos_embed' not in state:
        return 'vit', '', dict(state)
    if 'reg_token' in state or ('blocks.0.mlp.fc1.weight' in state and _packed(state)):
        return 'dinov2', 'timm', dinov2_from_timm(state)
    return 'dinov2', 'Meta', dict(state)


def _packed(state: State) -> bool:
    renamed = dinov2_from_timm(state)
    return 'blocks.0.mlp.w12.weight' in renamed


def _size(backbone: State) -> tuple[str | None, int, int]:
    """Letter of the size (None for a size of nobody's), depth and channels."""
    bias = backbone.get('patch_embed.proj.bias')
    dim = 0 if bias is None else bias.numel()
    indices = [name.split('.')[1] for name in backbone if name.startswith('blocks.')]
    depth = 1 + max((int(index) for index in indices if index.isdigit()), default=-1)
    letter = LETTERS.get(dim)
    return (letter if letter and DEPTHS[letter] == depth else None), depth, dim


def _signature(backbone: State, family: str) -> str:
    if family in PYRAMIDS:
        return pyramid_signature(backbone, family)
    letter, _, _ = _size(backbone)
    if letter is None or family not in ('dinov2', 'dinov3', 'rvsa'):
        return ''
    registers = '_reg4' if 'register_tokens' in backbone else ''
    return f'{family}_vit{letter.lower()}{_patch_size(backbone)}{registers}'


def _backbone_title(backbone: State, family: str, naming: str) -> str:
    if family in PYRAMIDS:
        return pyramid_title(backbone, family, naming)
    name = {'dinov2': 'DINOv2', 'dinov3': 'DINOv3', 'rvsa': 'RVSA (MTP)', 'vit': 'plain'}[family]
    letter, depth, dim = _size(backbone)
    patch = _patch_size(backbone)
    title = (f'{name} ViT-{letter}/{patch}' if letter
             else f'{name} ViT of {depth} blocks of {dim} channels, {patch} px patches')
    registers = backbone.get('register_tokens')
    if registers is not None and registers.ndim == 3:
        title += f' with {registers.shape[1]} registers'
    if naming not in ('', 'Meta'):
        title += f', named as in {naming}'
    if family == 'dinov2' and patch == 16:
        title += ', converted to 16 px patches'
    return title


def _checkpoint_title(parts: Mapping[str, State], family: str, naming: str) -> str:
    names = {name for tensors in parts.values() for name in tensors}
    ours = any(n.startswith(('mim_head.', 'backbone.gse.')) for n in names)
    theirs = any(n.startswith(('task_head.', 'augmentor.')) or n == 'mask_token' for n in names)
    who = 'CrossEarth' if ours else "authors' CrossEarth training" if theirs else 'segmentor'
    if who == 'segmentor' and parts.get('adapters'):
        who = 'Rein or published CrossEarth'
    held = [part for part in ('adapters', 'head') if parts.get(part)]
    if backbone := parts.get('backbone'):
        return f'{who} checkpoint with {_backbone_title(backbone, family, naming)}' if family else (
            f'{who} checkpoint with a backbone')
    return f'{who} checkpoint without backbone ({" and ".join(held)})'


def _num_classes(head: State) -> int | None:
    for name, surplus in (('decode_head.cls_embed.weight', 1), ('decode_head.conv_seg.weight', 0)):
        if name in head and head[name].ndim:
            return head[name].shape[0] - surplus  # Mask2Former also predicts "no object"
    return None


def _grid(backbone: State) -> int | None:
    pos = backbone.get('pos_embed')
    if pos is None or pos.ndim != 3:
        return None
    side = math.isqrt(pos.shape[1])  # a class token more or none: the same root
    return side if pos.shape[1] - side * side in (0, 1) else None


def _patch_size(backbone: State) -> int | None:
    kernel = backbone.get('patch_embed.proj.weight')
    return kernel.shape[-1] if kernel is not None and kernel.ndim == 4 else None
