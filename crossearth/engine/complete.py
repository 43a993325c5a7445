# SPDX-License-Identifier: Apache-2.0
"""Fill in what follows from the data: data sets, the evaluator, and every size of the model.

A config names its data root, classes, source and targets once at its top level, its crop once
(`crop_size`), and the number of classes never; all of these were edited by hand in several places,
and wrongly, in users' reports of the published configs. What a config sets itself stays.
"""

import copy
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from crossearth.errors import ConfigError
from crossearth.registry import MODELS

from .config_check import data_classes, keyword_arguments, members, resolve_type

__all__ = ['complete_config', 'complete_data', 'dataset_classes', 'dataset_domains']

DOMAINS = {'train': 'source', 'val': 'source', 'test': 'targets'}
"""Which top-level name gives the domains of a loader; no model is selected on a target."""


def complete_config(cfg: Config) -> Config:
    """Fill the gaps of data sets, evaluators and `model`.

    Args:
        cfg: A config with `crop_size` (rows, columns) in px and, for training or testing, data
            loaders.

    Returns:
        A copy without gaps: nothing that is read or changed in `cfg` later sees what was filled.
    """
    cfg = complete_data(cfg)
    model = cfg.model
    classes = dataset_classes(cfg)
    if classes:
        for head in _heads(model):
            _default(head, 'num_classes', len(classes))
    if crop := cfg.get('crop_size'):
        crop = tuple(crop)
        backbone = MODELS.get(model.backbone.type)
        if backbone and 'img_size' in (keyword_arguments(backbone) or ()):
            _default(model.backbone, 'img_size', crop)
        _default(model.data_preprocessor, 'size', crop)
        if model.test_cfg.mode == 'slide':
            _default(model.test_cfg, 'crop_size', crop)
            # two thirds, rounded as the published configs do: 512 -> 341, 1024 -> 683
            _default(model.test_cfg, 'stride', tuple(round(side * 2 / 3) for side in crop))
    return cfg


def _heads(model: Any) -> list[Any]:
    """The decode head, and the auxiliary heads of a model."""
    auxiliary = model.get('auxiliary_head') or []
    return [model.decode_head, *([auxiliary] if isinstance(auxiliary, Mapping) else auxiliary)]


def complete_data(cfg: Config) -> Config:
    """Fill the gaps of data sets and evaluators from the top level.

    `data_root`, `classes` and `palette` reach every data set, also wrapped ones; `source` is what
    is trained and validated on, `targets` what is tested.

    Args:
        cfg: A checked config.

    Returns:
        A copy without gaps.
    """
    cfg = copy.deepcopy(cfg)
    for split, name in DOMAINS.items():
        if dataset := (cfg.get(f'{split}_dataloader') or {}).get('dataset'):
            _fill_dataset(f'{split}_dataloader.dataset', dataset, cfg, cfg.get(name))
        evaluators = cfg.get(f'{split}_evaluator') or []
        for metric in [evaluators] if isinstance(evaluators, Mapping) else evaluators:
            accepted = _accepted(f'{split}_evaluator', metric, 'METRICS', cfg)
            for key, value in (('source', cfg.get('source')), ('domains', cfg.get(name))):
                if key in accepted:
                    _default(metric, key, value)
    return cfg


def dataset_classes(cfg: Config) -> tuple[str, ...]:
    """Names of the classes of the config's first data set; empty if it names none."""
    return next((classes for _, classes in data_classes(cfg)), ())


def dataset_domains(cfg: Config, split: str) -> tuple[str, ...]:
    """Names of the domains that a loader of a completed config gives, as far as it tells them.

    Args:
        cfg: The config.
        split: `train`, `val` or `test`.
    """
    dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset')
    return tuple(_domains(f'{split}_dataloader.dataset', dataset, cfg)) if dataset else ()


def _domains(path: str, node: Any, cfg: Config) -> list[str]:
    if chosen := node.get('domains'):
        return [chosen] if isinstance(chosen, str) else list(chosen)
    if wrapped := members(path, node):
        return [name for inner, member in wrapped for name in _domains(inner, member, cfg)]
    kind = resolve_type(f'{path}.type', node.get('type'), 'DATASETS', cfg)
    served = getattr(kind, 'DEFAULT_DOMAINS', ())
    return list(served or (getattr(kind, 'METAINFO', None) or {}).get('domains', ()))


def _fill_dataset(path: str, node: Any, cfg: Config, domains: Any) -> None:
    """Fill a data set and those that it wraps; the outermost that takes `domains` gets them."""
    accepted = _accepted(path, node, 'DATASETS', cfg)
    if 'domains' in accepted:
        _default(node, 'domains', domains)
        domains = None
    wrapped = members(path, node)
    for inner, member in wrapped:
        _fill_dataset(inner, member, cfg, domains)
    if wrapped:
        return
    if 'data_root' in accepted:
        _default(node, 'data_root', cfg.get('data_root'))
    for key in ('classes', 'palette'):
        if 'metainfo' in accepted and cfg.get(key) is not None:
            _default(node, 'metainfo', {})
            _default(node['metainfo'], key, cfg[key])


def _accepted(path: str, node: Mapping[str, Any], registry: str, cfg: Config) -> set[str]:
    if not node.get('type'):
        raise ConfigError(f"{path} has no 'type'. Set it, or inherit from a file of "
                          'configs/_base_/datasets that names a data set.')
    return keyword_arguments(resolve_type(f'{path}.type', node['type'], registry, cfg)) or set()


def _default(section: Any, key: str, value: Any) -> None:
    if section.get(key) is None and value is not None:
        section[key] = value
