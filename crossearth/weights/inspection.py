# SPDX-License-Identifier: Apache-2.0
"""Describe a file of weights: kind, parts, shapes, surplus, where it comes from."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from crossearth.weight_files import file_sha256

from .reading import Content
from .recognition import Recognised, read_recognised
from .zoo import SOURCES

__all__ = ['describe']

UNKNOWN_SHOWN = 20  # of the tensors that belong to nothing of ours
# What is public of Rein and of DINOv2. Whatever else lies between them, such as the GSE of the
# paper's authors, is worth seeing.
KNOWN = {
    'adapters': re.compile(
        r'backbone\.(reins\.(scale|learnable_tokens(_[ab])?|(mlp_token2feat|mlp_delta_f|transform|'
        r'merge)\.(weight|bias))|(adapter|gse|injector)\..*)'),
    'backbone': re.compile(
        r'(cls|mask|reg)_token|register_tokens|pos_embed|norm\.\w+|patch_embed\.proj\.\w+|'
        r'blocks\.\d+\.((norm[12]|attn\.(qkv|proj)|mlp\.(fc[12]|w12|w3))\.\w+|ls[12]\.gamma|'
        r'gamma_[12]|attn\.[qv]_bias)'),
}
PROVENANCE = ('epoch', 'iter', 'seed', 'time', 'mmengine_version', 'experiment_name', 'hook_msgs')


def describe(path: Path, *, keys: bool = False, trust: bool = False) -> str:
    """Describe a file of weights in a few lines.

    Args:
        path: A `.pth` or `.safetensors` file.
        keys: List every tensor and its shape.
        trust: Load the file even if it could run code.

    Returns:
        The text.

    Raises:
        CheckpointError: The file is damaged or would have to run code.
        WeightsNotFoundError: There is no such file.
    """
    content, found = read_recognised(path, trust=trust)
    digest = file_sha256(path)
    known = [source.name for source in SOURCES.values() if source.sha256 == digest]
    return '\n'.join([
        f'{path}: {found.title}',
        f'  sha256      {digest}' + (f' ({known[0]})' if known else ''),
        f'  size        {path.stat().st_size / 1e6:.1f} MB',
        *_model_facts(found),
        *_provenance(content, path),
        f'  {"part":10}{"tensors":>8}{"parameters":>14}{"MB":>10}',
        *(_part(name, tensors) for name, tensors in found.parts.items()),
        *_unknown(found),
        *(_shapes(found) if keys else ()),
    ])


def _model_facts(found: Recognised) -> Iterable[str]:
    if found.num_classes is not None:
        yield f'  classes     {found.num_classes}'
    if found.patch_size is not None:
        positions = f', positions {found.grid} x {found.grid}' if found.grid else ''
        yield f'  patches     {found.patch_size} px{positions}'


def _provenance(content: Content, path: Path) -> Iterable[str]:
    others = [key for key in content.extras if key != 'meta']
    if others:
        yield f'  also holds  {", ".join(map(str, others))}'
    backbone = content.meta.get('backbone')
    if isinstance(backbone, dict):
        yield f'  trained on  {backbone.get("name")} (sha256 {backbone.get("sha256")})'
    facts = [f'{key} {content.meta[key]}' for key in PROVENANCE
             if isinstance(content.meta.get(key), str | int | float)]
    if facts:
        yield f'  written     {", ".join(facts)}'
    if path.suffix == '.safetensors':
        with safe_open(path, 'pt') as file:
            for key, value in (file.metadata() or {}).items():
                yield f'  {key:11} {_one_line(value)}'


def _one_line(value: str) -> str:
    try:
        entries: Any = json.loads(value)
    except ValueError:
        return value
    return ', '.join(f'{key}: {entry}' for key, entry in entries.items()) if isinstance(
        entries, dict) else value


def _part(name: str, tensors: Mapping[str, Tensor]) -> str:
    parameters = sum(tensor.numel() for tensor in tensors.values())
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    return f'  {name:10}{len(tensors):>8}{parameters:>14,}{size / 1e6:>10.1f}'


def _unknown(found: Recognised) -> Iterable[str]:
    parts = dict(found.parts)
    if found.family not in ('dinov2', 'dinov3'):
        parts.pop('backbone', None)  # nothing is known of the names of others
    tensors = {} if found.kind == 'style' else {
        name: tensor for part, entries in parts.items() for name, tensor in entries.items()
        if part == 'other' or (part in KNOWN and not KNOWN[part].fullmatch(name))}
    if tensors:
        yield f'  {len(tensors)} unknown tensors:'
    for name in [*tensors][:UNKNOWN_SHOWN]:
        yield f'    {name} {tuple(tensors[name].shape)}'
    if len(tensors) > UNKNOWN_SHOWN:
        yield f'    and {len(tensors) - UNKNOWN_SHOWN} more (--keys lists all)'


def _shapes(found: Recognised) -> Iterable[str]:
    for part, tensors in found.parts.items():
        yield f'  {part}:'
        for name, tensor in tensors.items():
            yield f'    {name} {tuple(tensor.shape)} {str(tensor.dtype).removeprefix("torch.")}'
