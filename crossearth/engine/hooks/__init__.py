# SPDX-License-Identifier: Apache-2.0
"""Hooks of the runner."""

from .checkpoint import SafeCheckpointHook
from .ema import TrainedEMAHook
from .pictures import TrainingPictureHook, task_pictures
from .progress import ProgressHook
from .provenance import BackboneProvenanceHook, check_backbone
from .tracking import SpeedHook, TrackingVisualizer

__all__ = [
    'BackboneProvenanceHook',
    'ProgressHook',
    'SafeCheckpointHook',
    'SpeedHook',
    'TrackingVisualizer',
    'TrainedEMAHook',
    'TrainingPictureHook',
    'check_backbone',
    'task_pictures',
]
