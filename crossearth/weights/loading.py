# SPDX-License-Identifier: Apache-2.0
"""Load the pre-trained part of a backbone completely, whoever named its tensors.

A backbone that is loaded in part trains and tests without any complaint, only badly: everything
here refuses rather than warns, unless a part is asked for.
"""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.logging import print_log
from torch import Tensor

from crossearth.errors import CheckpointError

from .recognition import read_recognised
from .report import PartReport, few, table

if TYPE_CHECKING:  # the models take seconds to import, and reading a file needs none of them
    from crossearth.models.backbones.pretrained import PretrainedBackbone

__all__ = ['fill_backbone', 'load_backbone']

# Backbones convert the grid of positions and the size of patches while loading; the dimensions left
# must fit.
FIXED_DIMS = {'pos_embed': slice(0, None, 2), 'patch_embed.proj.weight': slice(0, 2),
              'full_attn_rel_pos_h': slice(1, None), 'full_attn_rel_pos_w': slice(1, None)}
UNUSED = ('mask_token',)  # of DINOv2's pre-training, in every official file
# With these all other parameters match, and yet the features would be wrong.
ALTERING = {
    'register_tokens': 'was trained with register tokens, but the backbone has none. Set '
                       'backbone.num_registers=4, or use the weights without registers.',
    'blocks.0.attn.q_bias': 'has biases of queries and values that are not zero, but the backbone '
                            'has none. Use the published weights of this architecture.',
}


def load_backbone(
    backbone: 'PretrainedBackbone', path: str | Path, *, allow_partial: bool = False
) -> PartReport:
    """Fill the pre-trained part of a backbone from a file, completely or not at all.

    The file may be Meta's, timm's, OpenMMLab's or that of transformers, or a checkpoint that holds
    the backbone among other parts. Patch kernel and position embedding are converted to the sizes
    of the backbone by the backbone itself. The adapters stay as they are.

    Args:
        backbone: Backbone with canonical parameter names.
        path: File of weights.
        allow_partial: Load what fits instead of refusing what does not.

    Returns:
        What was loaded; it is logged too.

    Raises:
        CheckpointError: A parameter is missing from the file or has another shape.
    """
    _, found = read_recognised(path)
    state = found.parts.get('backbone', found.parts.get('other', {}))
    report = fill_backbone(
        backbone, state, path, f'{path} ({found.title})', allow_partial=allow_partial)
    print_log(table(f'backbone from {path}: {found.title}', [report]), 'current', logging.INFO)
    return report


def fill_backbone(
    backbone: 'PretrainedBackbone',
    state: Mapping[str, Tensor],
    path: str | Path,
    label: str,
    *,
    allow_partial: bool = False,
) -> PartReport:
    """Fill the pre-trained part of a backbone with tensors that bear its names.

    Args:
        backbone: The backbone.
        state: Its tensors.
        path: File that they come from, for the report.
        label: The file and what it is, as messages name it.
        allow_partial: Load what fits instead of refusing what does not.

    Returns:
        What was loaded.

    Raises:
        CheckpointError: A parameter is missing or has another shape.
    """
    own = backbone.state_dict()
    try:
        state, adopted = backbone.adopt(state)
    except RuntimeError as error:
        raise CheckpointError(
            f'{label} holds tensors whose shapes contradict each other ({error}). Download or '
            'convert the file again.') from error
    names = dict.fromkeys([*backbone.pretrained_names(), *backbone.optional_names()])
    wrong = {
        name: f'{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}'
        for name in names
        if name in state and _fixed(name, state[name]) != _fixed(name, own[name])}
    wanted = {name: state[name] for name in names if name in state and name not in wrong}
    missing = tuple(name for name in backbone.needed_names() if name not in state)
    report = PartReport(
        matched=len(wanted), total=len(wanted) + len(wrong) + len(missing),
        missing=missing,
        unexpected=tuple(key for key in state if key not in names and key not in UNUSED),
        mismatched=tuple(wrong.values()), source=Path(path).name,
        notes=(*_conversions(wanted, own), *adopted))
    _check_altering(report, label)
    if not allow_partial or not wanted:
        _check_complete(report, label)
    try:
        backbone.load_state_dict(wanted, strict=False)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(
            f'{label} does not fit the backbone: {reason}. Set backbone.arch and '
            'backbone.num_registers to those of the weights.') from error
    if allow_partial:
        backbone.weights_loaded = True  # the part was chosen on purpose
    return report


def _check_altering(report: PartReport, label: str) -> None:
    for name, remedy in ALTERING.items():
        if name in report.unexpected and not report.missing:
            raise CheckpointError(f'{label} {remedy}')
    # a deeper ResNet or Mix Transformer holds every tensor of a shallower one
    if deeper := [name for name in report.unexpected if name.startswith('layer')]:
        raise CheckpointError(
            f'{label} has blocks that the backbone lacks: {few(deeper)}. Set backbone.arch, of a '
            'ResNet backbone.depth, to that of the weights.')


def _check_complete(report: PartReport, label: str) -> None:
    if report.missing:
        raise CheckpointError(
            f'{label} fits the backbone only in part: {report.matched} of {report.total} '
            f'parameters match, missing {few(report.missing)}, unexpected '
            f'{few(report.unexpected)}. The backbone needs all of them: give the full '
            'pre-trained file, or set backbone.arch (of a ResNet: depth) and '
            'backbone.num_registers to those of the weights.')
    if report.mismatched:
        raise CheckpointError(
            f'{label} is of another architecture than the backbone: {few(report.mismatched)}. Set '
            'backbone.arch, of a ResNet backbone.depth, to that of the weights.')


def _fixed(name: str, tensor: Tensor) -> tuple[int, ...]:
    fixed = next((dims for end, dims in FIXED_DIMS.items() if name.endswith(end)), slice(None))
    return tuple(tensor.shape)[fixed]


def _conversions(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[str, ...]:
    notes = []
    kernel, pos = 'patch_embed.proj.weight', 'pos_embed'
    if kernel in state and state[kernel].shape != own[kernel].shape:
        sizes = [tensor.shape[-1] for tensor in (state[kernel], own[kernel])]
        notes.append(f'patch kernel {sizes[0]} -> {sizes[1]} px')
    if pos in state and state[pos].shape != own[pos].shape:
        # the backbone's grid may be oblong, so only its number of positions is known here
        prefix = int('cls_token' in own)
        stored, wanted = (tensor.shape[1] - prefix for tensor in (state[pos], own[pos]))
        notes.append(f'positions resized from {_grid(stored)} to {_grid(wanted)}')
    for name in [name for name in state if name.endswith('full_attn_rel_pos_h')][:1]:
        if state[name].shape != own[name].shape:
            notes.append(f'relative positions resized from {len(state[name])} to {len(own[name])}')
    return tuple(notes)


def _grid(positions: int) -> str:
    side = math.isqrt(positions)
    return f'{side} x {side}' if side * side == positions else f'{positions}'
