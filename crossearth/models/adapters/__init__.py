# SPDX-License-Identifier: Apache-2.0
"""Trained modules beside a frozen backbone."""

from .bottleneck import BottleneckAdapter
from .geospatial import GeospatialSemanticExtractor, Injector
from .lora import LoRA
from .rein import LoRARein, Rein
from .within import BlockAdapter

__all__ = ['BlockAdapter', 'BottleneckAdapter', 'GeospatialSemanticExtractor', 'Injector', 'LoRA',
           'LoRARein', 'Rein']
