# SPDX-License-Identifier: Apache-2.0
"""Trained modules beside a frozen backbone."""

from .geospatial import GeospatialSemanticExtractor, Injector
from .rein import LoRARein, Rein

__all__ = ['GeospatialSemanticExtractor', 'Injector', 'LoRARein', 'Rein']
