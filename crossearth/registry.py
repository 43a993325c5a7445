# SPDX-License-Identifier: Apache-2.0
"""Registries of our plugins, children of MMSegmentation's.

A bare `type='LoRARein'` in a config is looked up here first, then in mmseg, then in mmengine; a
type of mmseg or mmcv that we do not replace needs no prefix. The modules that fill a registry are
imported when something is first built from it, which keeps `import crossearth` light.
"""

from mmengine.registry import Registry
from mmseg import registry as mmseg_registry

from crossearth import compat

__all__ = [
    'DATASETS',
    'DATA_SAMPLERS',
    'HOOKS',
    'LOOPS',
    'METRICS',
    'MODELS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'TRANSFORMS',
    'VISBACKENDS',
    'VISUALIZERS',
]

SCOPE = 'crossearth'

# here, since every import of mm* packages by ours goes through this module first
compat.silence()


def _child(parent: Registry, *locations: str) -> Registry:
    """Make a registry of our scope under `parent`, filled by importing `locations`."""
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=list(locations))


# `mmseg.*` locations come first: a look-up that ends in a parent registry does not import its
# modules.
MODELS = _child(
    mmseg_registry.MODELS, 'mmseg.models', 'crossearth.models', 'crossearth.style.injection')
DATASETS = _child(mmseg_registry.DATASETS, 'mmseg.datasets', 'crossearth.datasets')
TRANSFORMS = _child(
    mmseg_registry.TRANSFORMS,
    'mmseg.datasets.transforms', 'crossearth.transforms', 'crossearth.style.transform')
DATA_SAMPLERS = _child(
    mmseg_registry.DATA_SAMPLERS, 'crossearth.engine.sampler', 'crossearth.engine.rare_classes')
METRICS = _child(mmseg_registry.METRICS, 'mmseg.evaluation', 'crossearth.evaluation')
HOOKS = _child(
    mmseg_registry.HOOKS,
    'mmseg.engine.hooks', 'crossearth.engine.hooks', 'crossearth.evaluation')
VISUALIZERS = _child(
    mmseg_registry.VISUALIZERS, 'mmseg.visualization', 'crossearth.engine.hooks')
VISBACKENDS = _child(mmseg_registry.VISBACKENDS)
LOOPS = _child(mmseg_registry.LOOPS, 'crossearth.engine.loop')
OPTIM_WRAPPERS = _child(mmseg_registry.OPTIM_WRAPPERS, 'crossearth.engine.optim')
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    mmseg_registry.OPTIM_WRAPPER_CONSTRUCTORS,
    'crossearth.engine.optim', 'crossearth.engine.layer_decay')
