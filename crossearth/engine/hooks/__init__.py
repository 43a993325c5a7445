# SPDX-License-Identifier: Apache-2.0
"""Hooks of the runner."""

from .checkpoint import SafeCheckpointHook
from .ema import TrainedEMAHook
from .pictures import TrainingPictureHook
from .progress import ProgressHook
from .provenance import BackboneProvenanceHook, check_backbone

__all__ = [
    'BackboneProvenanceHook',
    'ProgressHook',
    'SafeCheckpointHook',
    'TrainedEMAHook',
    'TrainingPictureHook',
    'check_backbone',
]
