# SPDX-License-Identifier: Apache-2.0
"""Decode heads."""

from .mask2former import Mask2FormerHead, ReinMask2FormerHead

__all__ = ['Mask2FormerHead', 'ReinMask2FormerHead']
