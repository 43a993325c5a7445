# SPDX-License-Identifier: Apache-2.0
"""CrossEarth: segmentation of remote-sensing imagery in places that a model has never seen."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossearth.inference.scene import load_model
    from crossearth.inference.scene import predict as predict_raster

__all__ = ['__version__', 'load_model', 'predict_raster']
__version__ = '0.1.0'

LAZY = {'load_model': 'load_model', 'predict_raster': 'predict'}


def __getattr__(name: str) -> Any:
    """Import torch and rasterio when a model is first asked for, and not before."""
    if name not in LAZY:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from crossearth.inference import scene

    return getattr(scene, LAZY[name])
