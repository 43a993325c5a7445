# SPDX-License-Identifier: Apache-2.0
"""Samples -> training views; importing this package fills the registry."""

from crossearth.transforms.loading import LoadImage, LoadLabel

__all__ = ['LoadImage', 'LoadLabel']
