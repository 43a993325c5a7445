# SPDX-License-Identifier: Apache-2.0
"""Checks of a merged config, before anything is built from it.

A misspelt type or keyword would otherwise end in a traceback from inside a builder after half a
minute, and a misspelt top-level key would be ignored. Every check raises a `ConfigError` that names
the dotted path of the entry and the nearest name that exists.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmengine import registry as roots
from mmengine.config import Config
from mmengine.registry import Registry

from crossearth.errors import ConfigError, suggest
from crossearth.registry import SCOPE

__all__ = ['HELPER_KEYS', 'RUNNER_KEYS', 'check_classes', 'check_config', 'data_classes',
           'keyword_arguments', 'members', 'metainfos', 'resolve_type']

RUNNER_KEYS = frozenset({
    'activation_checkpointing', 'auto_scale_lr', 'compile', 'custom_hooks', 'custom_imports',
    'data_preprocessor', 'default_hooks', 'default_scope', 'efficient_conv_bn_eval', 'env_cfg',
    'experiment_name', 'find_unused_parameters', 'launcher', 'load_from', 'log_level',
    'log_processor', 'model', 'model_wrapper_cfg', 'optim_wrapper', 'param_scheduler', 'randomness',
    'resume', 'sync_bn', 'test_cfg', 'test_dataloader', 'test_evaluator', 'train_cfg',
    'train_dataloader', 'val_cfg', 'val_dataloader', 'val_evaluator', 'visualizer', 'work_dir',
})
"""Top-level keys that mmengine's Runner reads."""

HELPER_KEYS = frozenset({
    # what is trained and tested on; `complete_data` carries these to loaders and evaluators
    'data_root', 'classes', 'palette', 'source', 'targets',
    'dataset_type', 'metainfo', 'domains', 'num_classes', 'datasets',
    # size of a training crop, of a test image and of a test window, in pixels
    'crop_size', 'image_size', 'stride', 'mean', 'std', 'meta_keys',
    'train_pipeline', 'val_pipeline', 'test_pipeline', 'tta_pipeline', 'tta_model',
    'train_dataset', 'val_dataset', 'test_dataset',
    # parts of models and schedules that other entries are made of
    'backbone', 'decode_head', 'auxiliary_head', 'norm_cfg', 'optimizer', 'checkpoint',
    'max_iters', 'warmup_iters', 'batch_size', 'num_workers', 'vis_backends',
})
"""Top-level keys of our configs that only help to write others; more may be called `custom_*`."""

TYPED_SECTIONS = {
    'model': 'MODELS', 'data_preprocessor': 'MODELS', 'tta_model': 'MODELS',
    'train_cfg': 'LOOPS', 'val_cfg': 'LOOPS', 'test_cfg': 'LOOPS',
    'val_evaluator': 'METRICS', 'test_evaluator': 'METRICS',
    'optim_wrapper': 'OPTIM_WRAPPERS', 'param_scheduler': 'PARAM_SCHEDULERS',
    'default_hooks': 'HOOKS', 'custom_hooks': 'HOOKS', 'visualizer': 'VISUALIZERS',
    'log_processor': 'LOG_PROCESSORS', 'model_wrapper_cfg': 'MODEL_WRAPPERS',
    'train_dataloader': 'DATASETS', 'val_dataloader': 'DATASETS', 'test_dataloader': 'DATASETS',
}
"""Top-level sections that hold types, and mmengine's root registry of these."""

NESTED_SECTIONS = {
    'sampler': 'DATA_SAMPLERS', 'batch_sampler': 'DATA_SAMPLERS', 'collate_fn': 'FUNCTIONS',
    'worker_init_fn': 'FUNCTIONS', 'pipeline': 'TRANSFORMS', 'transforms': 'TRANSFORMS',
    'assigner': 'TASK_UTILS', 'optimizer': 'OPTIMIZERS', 'vis_backends': 'VISBACKENDS',
    'init_cfg': 'WEIGHT_INITIALIZERS',
}
"""Keys below those sections that switch to another registry."""

BUILDER_KEYS = {
    'HOOKS': {'priority'},
    'OPTIM_WRAPPERS': {'optimizer', 'constructor', 'paramwise_cfg'},
    'PARAM_SCHEDULERS': {'convert_to_iter_based'},
    'WEIGHT_INITIALIZERS': {'layer', 'override', 'name'},
    'MODELS': {'requires_grad'},
}
"""Keywords that a registry's builder takes out before it calls the class."""

PLAIN_SECTIONS: dict[str, frozenset[str]] = {
    'env_cfg': frozenset({'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'}),
    'env_cfg.mp_cfg': frozenset({'mp_start_method', 'opencv_num_threads'}),
    'randomness': frozenset({'seed', 'diff_rank_seed', 'deterministic'}),
    'auto_scale_lr': frozenset({'enable', 'base_batch_size'}),
}
"""Sections without types whose keys are known; loaders are added by `_loader_keys`."""


def check_config(cfg: Config) -> None:
    """Check top-level keys, types, keywords and class counts of `cfg`.

    Raises:
        ConfigError: The first thing that is wrong.
    """
    known = RUNNER_KEYS | HELPER_KEYS
    for key in cfg:
        if key not in known and not key.startswith('custom_'):
            raise ConfigError(
                f"'{key}' is not a top-level key of a config.{suggest(key, known)} Keys of your "
                "own must start with 'custom_'.")
    scope = cfg.get('default_scope', SCOPE)
    for key in cfg:
        if key in TYPED_SECTIONS or key in PLAIN_SECTIONS:
            _check_node(key, cfg[key], TYPED_SECTIONS.get(key), scope)
    check_classes(cfg)


def _check_node(path: str, node: Any, registry: str | None, scope: str) -> None:
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            _check_node(f'{path}.{index}', item, registry, scope)
    elif isinstance(node, Mapping):
        known = _accepted_keys(path, node, registry, scope)
        for key, value in node.items():
            if known is not None and key not in known:
                owner = node.get('type', path)
                raise ConfigError(
                    f"{path}.{key}: '{getattr(owner, '__name__', owner)}' takes no argument "
                    f"'{key}'.{suggest(key, known)}")
            _check_node(f'{path}.{key}', value, NESTED_SECTIONS.get(key, registry), scope)
        if registry == 'OPTIM_WRAPPERS' and 'constructor' in node:  # a type without a dict
            _resolve(f'{path}.constructor', node['constructor'], 'OPTIM_WRAPPER_CONSTRUCTORS',
                     scope)


def _accepted_keys(path: str, node: Mapping[str, Any], registry: str | None,
                   scope: str) -> set[str] | None:
    """The keys that may stand in `node`, or None if that cannot be known."""
    if path in PLAIN_SECTIONS:
        return set(PLAIN_SECTIONS[path])
    if path.endswith('_dataloader') and '.' not in path:
        return _loader_keys()
    kind = node.get('type')
    # `clip_grad=dict(type='norm')` is torch's, not a registry's.
    if kind is None or registry is None or path.endswith('.clip_grad'):
        return None
    target = _resolve(f'{path}.type', kind, registry, scope) if isinstance(kind, str) else kind
    known = keyword_arguments(target)
    return known and known | BUILDER_KEYS.get(registry, set()) | {'type', '_scope_'}


def _resolve(path: str, kind: str, registry: str, scope: str) -> Any:
    """What `kind` names: in the registry that belongs to its place, else in any."""
    for name in (registry, *sorted({*TYPED_SECTIONS.values(), *NESTED_SECTIONS.values()})):
        with getattr(roots, name).switch_scope_and_registry(scope) as children:
            found = children.get(kind)
        if found is not None:
            return found
    with getattr(roots, registry).switch_scope_and_registry(scope) as children:
        known = _names(children)
    raise ConfigError(
        f"{path}: there is no {getattr(roots, registry).name} called '{kind}'."
        f'{suggest(kind, known)} If it is yours, import its module by `custom_imports`.')


def _names(registry: Registry | None) -> set[str]:
    names: set[str] = set()
    while registry is not None:
        names |= registry.module_dict.keys()
        registry = registry.parent
    return names


def keyword_arguments(target: Callable[..., Any]) -> set[str] | None:
    """Keyword arguments of a class or function; None if its `**kwargs` go nowhere known."""
    inits = [target] if not inspect.isclass(target) else [
        vars(base)['__init__'] for base in target.__mro__ if '__init__' in vars(base)]
    names: set[str] = set()
    for init in inits:
        parameters = inspect.signature(init).parameters.values()
        names |= {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            return names
    return None


def _loader_keys() -> set[str]:
    """What `Runner.build_dataloader` and torch's DataLoader read."""
    from torch.utils.data import DataLoader

    return set(inspect.signature(DataLoader).parameters) | {
        'num_batch_per_epoch', 'disable_subprocess_warning'}


def check_classes(cfg: Config) -> None:
    """Compare the `num_classes` of the decode head with the classes of every data set.

    Auxiliary heads may predict something else, such as boundaries.

    Raises:
        ConfigError: They differ; the message names both places and both numbers.
    """
    head = (cfg.get('model') or {}).get('decode_head')
    heads = dict(_class_counts('model.decode_head', head))
    for place, classes in data_classes(cfg):
        for head, count in heads.items():
            if count != len(classes):
                raise ConfigError(
                    f'{head}.num_classes is {count}, but {place} has {len(classes)} classes '
                    f"({', '.join(classes)}). Set num_classes={len(classes)}, or give the data "
                    'set the metainfo of the classes that the model knows.')


def data_classes(cfg: Config) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Path and classes of every data set of the config whose classes can be known unbuilt."""
    for path, metainfo in metainfos(cfg):
        if isinstance(classes := metainfo.get('classes'), (list, tuple)):
            yield path, tuple(classes)


def metainfos(cfg: Config) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and metainfo, as far as it is known unbuilt, of every data set that reads files."""
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader') or {}
        yield from _metainfos(f'{split}_dataloader.dataset', loader.get('dataset'), cfg)


def _class_counts(path: str, node: Any) -> Iterator[tuple[str, int]]:
    """Every `num_classes` in a decode head and the heads that it is made of."""
    if isinstance(node, (list, tuple)):
        for index, item in enumerate(node):
            yield from _class_counts(f'{path}.{index}', item)
    elif isinstance(node, Mapping):
        if isinstance(node.get('num_classes'), int):
            yield path, node['num_classes']
        for key, value in node.items():
            yield from _class_counts(f'{path}.{key}', value)


def _metainfos(path: str, node: Any, cfg: Config) -> Iterator[tuple[str, dict[str, Any]]]:
    """The metainfo of a data set, or of those that it wraps: the class's, and over it its own."""
    if not isinstance(node, Mapping):
        return
    wrapped = members(path, node)
    for inner, member in wrapped:
        yield from _metainfos(inner, member, cfg)
    kind = resolve_type(f'{path}.type', node.get('type'), 'DATASETS', cfg)
    if not wrapped:
        yield path, {**(getattr(kind, 'METAINFO', None) or {}), **(node.get('metainfo') or {})}


def members(path: str, node: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Paths and configs of the data sets that a data set wraps; none if it reads files itself."""
    wrapped = node.get('datasets', [node['dataset']] if 'dataset' in node else [])
    return [(f'{path}.{index}', member) for index, member in enumerate(wrapped)]


def resolve_type(path: str, kind: Any, registry: str, cfg: Config) -> Any:
    """Give the class that a `type` of the config names; one that is no name stays as it is.

    Args:
        path: Dotted path of the entry, for the message.
        kind: Its value.
        registry: mmengine's root registry of its place.
        cfg: The config, for its scope.

    Raises:
        ConfigError: Nothing has this name.
    """
    if not isinstance(kind, str):
        return kind
    return _resolve(path, kind, registry, cfg.get('default_scope', SCOPE))
