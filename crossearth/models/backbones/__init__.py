# SPDX-License-Identifier: Apache-2.0
"""Backbones: vision transformers that take adapters."""

from .adapted import AdaptedViT, Features
from .dinov2 import DINOv2
from .dinov3 import DINOv3

__all__ = ['AdaptedViT', 'DINOv2', 'DINOv3', 'Features']
