# SPDX-License-Identifier: Apache-2.0
"""Decode heads, and the head of masked image modelling."""

from .daformer import DAFormerHead
from .deeplabv2 import DeepLabV2Head
from .linear import LinearHead
from .mask2former import Mask2FormerHead, ReinMask2FormerHead
from .mim import Corrupted, MIMHead

__all__ = [
    'Corrupted', 'DAFormerHead', 'DeepLabV2Head', 'LinearHead', 'MIMHead', 'Mask2FormerHead',
    'ReinMask2FormerHead']
