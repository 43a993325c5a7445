# SPDX-License-Identifier: Apache-2.0
"""Mask2Former without compiled operators."""

from .head import Mask2FormerHead, ReinMask2FormerHead

__all__ = ['Mask2FormerHead', 'ReinMask2FormerHead']
