# SPDX-License-Identifier: Apache-2.0
"""Decode heads, and the head of masked image modelling."""

from .mask2former import Mask2FormerHead, ReinMask2FormerHead
from .mim import Corrupted, MIMHead

__all__ = ['Corrupted', 'MIMHead', 'Mask2FormerHead', 'ReinMask2FormerHead']
