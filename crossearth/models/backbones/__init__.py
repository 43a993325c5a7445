# SPDX-License-Identifier: Apache-2.0
"""Backbones: vision transformers that take adapters, and pyramids that are trained whole."""

from .adapted import AdaptedViT, Features
from .dinov2 import DINOv2
from .dinov3 import DINOv3
from .mit import MiT
from .pretrained import PretrainedBackbone
from .resnet import ResNet
from .rvsa import RVSA

__all__ = ['RVSA', 'AdaptedViT', 'DINOv2', 'DINOv3', 'Features', 'MiT', 'PretrainedBackbone',
           'ResNet']
