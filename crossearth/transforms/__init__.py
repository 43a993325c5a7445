# SPDX-License-Identifier: Apache-2.0
"""Samples -> training views; importing this package fills the registry."""

from crossearth.transforms.geometry import RandomCrop, RandomFlip
from crossearth.transforms.loading import LoadImage, LoadLabel
from crossearth.transforms.packing import PackSegInputs
from crossearth.transforms.photometric import PhotoMetricDistortion

__all__ = ['LoadImage', 'LoadLabel', 'PackSegInputs', 'PhotoMetricDistortion', 'RandomCrop',
           'RandomFlip']
