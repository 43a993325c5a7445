# SPDX-License-Identifier: Apache-2.0
"""Models; importing this package fills the registry."""

from . import adapters, backbones, heads, segmentors

__all__ = ['adapters', 'backbones', 'heads', 'segmentors']
