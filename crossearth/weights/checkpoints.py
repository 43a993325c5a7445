# SPDX-License-Identifier: Apache-2.0
"""Load a checkpoint into a segmentor: ours, or one that the authors published, whole or in part.

What a checkpoint leaves out of a frozen backbone comes from the backbone's own file. Anything else
that is missing, surplus or of another shape is refused, unless a partial load is asked for.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from torch import Tensor

from crossearth.errors import CheckpointError, ConfigError
from crossearth.models.backbones.pretrained import PretrainedBackbone
from crossearth.models.segmentors.encoder_decoder import TRAINING_ONLY
from crossearth.weight_files import file_sha256

from .loading import fill_backbone, load_backbone
from .recognition import PARTS, Recognised, part_of, read_recognised
from .report import PartReport, few, table
from .sources import find_weights, warn_if_changed

__all__ = ['LoadedCheckpoint', 'load_pretrained', 'load_segmentor']

# What only training needs, ours and the authors': left out where the model has no place for it.
LEFT_OUT = (*TRAINING_ONLY, 'task_head.', 'mask_token', 'augmentor.')
GEOSPATIAL = ('backbone.gse.', 'backbone.injector.')


@dataclass(frozen=True)
class LoadedCheckpoint:
    """What a checkpoint gave to a segmentor.

    Args:
        title: What the file is.
        meta: Its `meta`.
        reports: What went into each part.
        has_backbone: Whether the backbone came from the checkpoint, not from a file of its own.
    """

    title: str
    meta: dict[str, Any]
    reports: tuple[PartReport, ...]
    has_backbone: bool


def load_pretrained(model: Any, *, allow_partial: bool = False) -> PartReport | None:
    """Load the weights that the backbone's config names.

    Args:
        model: A segmentor; other backbones than ours initialise themselves.
        allow_partial: Load what fits instead of refusing what does not.

    Returns:
        What was loaded; None if nothing is to be.

    Raises:
        CrossEarthError: The file is missing or does not fill the backbone.
    """
    backbone = model.backbone
    if not isinstance(backbone, PretrainedBackbone) or backbone.weights == 'random':
        return None
    if backbone.weights is None:
        raise ConfigError(
            'model.backbone.weights is not set, and a backbone of random values would train '
            "silently. Set it to the name or path of a weights file, or to 'random' on purpose.")
    path = find_weights(backbone.weights)
    report = load_backbone(backbone, path, allow_partial=allow_partial)
    _load_reference(model)
    sha256 = file_sha256(path)
    warn_if_changed(backbone.weights, path, sha256)
    model.backbone_provenance = {'name': path.name, 'sha256': sha256}
    return report


def _load_reference(model: Any) -> None:
    """Fill the copy of the backbone, if there is one, that stays as it was pre-trained."""
    distance = getattr(model, 'feature_distance', None)
    if distance is not None:
        load_backbone(distance.reference, find_weights(distance.reference.weights))


def load_segmentor(
    model: Any, path: str | Path, *, allow_partial: bool = False, trust: bool = False
) -> LoadedCheckpoint:
    """Load a checkpoint completely; the backbone that it leaves out comes from its own file.

    Args:
        model: A segmentor.
        path: A checkpoint of ours, or a published one of CrossEarth or Rein: the whole model,
            adapters and head, or the head alone.
        allow_partial: Load what fits, and report the rest instead of refusing it.
        trust: Load the file even if it could run code.

    Returns:
        What was loaded; it is logged too.

    Raises:
        CheckpointError: Something is missing, surplus or of another shape.
        CrossEarthError: The file of the backbone is missing or does not fill it.
    """
    content, found = read_recognised(path, trust=trust)
    expected = _expected(model)
    parts = dict(found.parts)
    ours = isinstance(model.backbone, PretrainedBackbone)
    held = parts.pop('backbone', {})
    # of a backbone of ours: what was added to it and bears its names, such as MTP's pyramid
    rest = [name for name in (model.backbone.optional_names() if ours else held) if name in held]
    parts['backbone'] = {f'backbone.{name}': held[name] for name in rest}
    own_backbone = held if len(held) > len(rest) else {}
    reports, fitting = _match(expected, parts, Path(path).name)
    reports = [_without_geospatial(report, model) for report in reports]
    faults = [fault for report in reports for fault in report.faults]
    if faults and not (allow_partial and fitting):
        raise CheckpointError(_mismatch(path, found, faults, model))
    if ours:
        reports.insert(0, _load_backbone(model, own_backbone, path, found, allow_partial))
    model.load_state_dict(fitting, strict=False)
    reports = [report for report in reports if report.total or report.faults or report.notes]
    classes = '' if found.num_classes is None else f', {found.num_classes} classes'
    print_log(table(f'{path}: {found.title}{classes}', reports), 'current',
              logging.WARNING if faults else logging.INFO)
    return LoadedCheckpoint(found.title, content.meta, tuple(reports), bool(own_backbone))


def _expected(model: Any) -> dict[str, Tensor]:
    """Every tensor of the model but the pre-trained ones of a backbone of ours."""
    pretrained = set()
    if isinstance(model.backbone, PretrainedBackbone):
        pretrained = {f'backbone.{name}' for name in model.backbone.pretrained_names()}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in pretrained}


def _load_backbone(
    model: Any, own: Mapping[str, Tensor], path: str | Path, found: Recognised,
    allow_partial: bool,
) -> PartReport:
    if not own:
        return load_pretrained(model, allow_partial=allow_partial) or PartReport(
            0, len(model.backbone.pretrained_names()), source="random, as weights='random' asks")
    complete = own.keys() >= set(model.backbone.needed_names())
    if allow_partial and not complete:
        load_pretrained(model, allow_partial=True)
    else:
        _load_reference(model)
    return fill_backbone(
        model.backbone, own, path, f'{path} ({found.title})', allow_partial=allow_partial)


def _match(
    expected: Mapping[str, Tensor], parts: Mapping[str, Mapping[str, Tensor]], source: str,
) -> tuple[list[PartReport], dict[str, Tensor]]:
    """Compare names and shapes part by part; also give the tensors that fit."""
    reports, fitting = [], {}
    for part in (*PARTS, 'other'):
        own = {name: tensor for name, tensor in expected.items() if part_of(name) == part}
        given = parts.get(part, {})
        surplus = [name for name in given if name not in own]
        left_out = [name for name in surplus if name.startswith(LEFT_OUT)]
        wrong = {name: f'{name} is {tuple(given[name].shape)}, not {tuple(own[name].shape)}'
                 for name in given if name in own and given[name].shape != own[name].shape}
        fit = {name: t for name, t in given.items() if name in own and name not in wrong}
        fitting.update(fit)
        reports.append(PartReport(
            matched=len(fit), total=len(own),
            missing=tuple(name for name in own if name not in given),
            unexpected=tuple(name for name in surplus if name not in left_out),
            mismatched=tuple(wrong.values()), part=part, source=source if given else '',
            notes=(f'left out, only training needs it: {few(left_out)}',) if left_out else ()))
    return reports, fitting


def _without_geospatial(report: PartReport, model: Any) -> PartReport:
    """Forgive that a published checkpoint has no GSE, where the config keeps it off at test."""
    lacking = [name for name in report.missing if name.startswith(GEOSPATIAL)]
    held = any(name.startswith(GEOSPATIAL) for name in (*report.unexpected, *report.mismatched))
    whole = sum(name.startswith(GEOSPATIAL) for name in model.state_dict())
    if held or not lacking or len(lacking) < whole or getattr(
            model.backbone, 'geospatial_at_test', True):
        return report
    return PartReport(
        matched=report.matched, total=report.total - len(lacking),
        missing=tuple(name for name in report.missing if name not in lacking),
        unexpected=report.unexpected, mismatched=report.mismatched, part=report.part,
        source=report.source,
        notes=(*report.notes, 'no GSE and Injector: the config keeps them off at test'))


def _mismatch(path: str | Path, found: Recognised, faults: list[str], model: Any) -> str:
    message = (f'the checkpoint {path} ({found.title}) does not fit the model of the config: '
               f'{"; ".join(faults[:3])} ({len(faults)} differences in all). ')
    own = getattr(model, 'num_classes', None)
    if found.num_classes is not None and own is not None and found.num_classes != own:
        message += f'It knows {found.num_classes} classes, the config {own}. '
    if any(fault.startswith(GEOSPATIAL) and 'missing' in fault for fault in faults):
        message += ('It holds no complete GSE and Injector; published checkpoints have none: set '
                    'backbone.gse=None and backbone.injector=None, or '
                    'backbone.geospatial_at_test=False. ')
    return message + ('Test it with the config that trained it (a copy lies in its work '
                      'directory), or load what fits with --allow-partial.')
