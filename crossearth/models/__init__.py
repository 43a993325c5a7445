# SPDX-License-Identifier: Apache-2.0
"""Models; importing this package fills the registry."""

from . import adapters, backbones, heads, segmentors
from .data_preprocessor import SegDataPreProcessor

__all__ = ['SegDataPreProcessor', 'adapters', 'backbones', 'heads', 'segmentors']
