# SPDX-License-Identifier: Apache-2.0
"""Losses beside those of the heads."""

from .feature_distance import FeatureDistance

__all__ = ['FeatureDistance']
