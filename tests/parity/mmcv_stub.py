# SPDX-License-Identifier: Apache-2.0
"""Lets mmdet run, as an oracle, on an mmcv that was installed without its compiled operators.

`mmcv.ops` asks for `mmcv._ext` when it is imported. Here that module is a stand-in whose operators
exist, but raise when they are called; Mask2Former calls none of them on a CPU. A compiled
`mmcv._ext` always wins, because the finder stands last.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable, Sequence

__all__ = ['install', 'load_head']

NAME = 'mmcv._ext'
OPERATORS = {  # what Mask2Former uses of mmcv.ops; both are plain PyTorch on a CPU
    'MultiScaleDeformableAttention': 'mmcv.ops.multi_scale_deform_attn',
    'point_sample': 'mmcv.ops.point_sample',
}


class _Operators(types.ModuleType):
    """Has every operator, and runs none."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith('__'):
            raise AttributeError(name)

        def missing(*args: object, **kwargs: object) -> None:
            raise NotImplementedError(f'{NAME}.{name} is not compiled')

        return missing


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the stand-in under the name of the compiled module."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self) if fullname == NAME else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Operators(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def install() -> None:
    """Make mmdet's Mask2Former work, whatever was imported before."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
    importlib.import_module('mmdet.models')
    # Modules that were imported before hold placeholders under the names of what they use.
    for symbol, home in OPERATORS.items():
        real = getattr(importlib.import_module(home), symbol)
        for name, module in list(sys.modules.items()):
            if name.startswith(('mmdet.', 'mmcv.cnn.')) and symbol in vars(module):
                setattr(module, symbol, real)


def load_head() -> type:
    """mmseg's `Mask2FormerHead`, based on mmdet's.

    The class that mmseg registers is useless if mmseg was imported before `install`, so its file is
    run once more, without registering anything.
    """
    install()
    registry = importlib.import_module('mmseg.registry').MODELS
    spec = importlib.util.find_spec('mmseg.models.decode_heads.mask2former_head')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    registered = registry.module_dict.pop('Mask2FormerHead')
    try:
        spec.loader.exec_module(module)
    finally:
        registry.module_dict['Mask2FormerHead'] = registered
    return module.Mask2FormerHead
