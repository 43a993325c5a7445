# SPDX-License-Identifier: Apache-2.0
"""CrossEarth: segmentation of remote-sensing imagery in places that a model has never seen."""

__all__ = ['__version__']
__version__ = '0.1.0'
