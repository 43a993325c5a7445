# SPDX-License-Identifier: Apache-2.0
"""Segmentors: backbone, head, losses and inference in one."""

from .crossearth import CrossEarthSegmentor
from .encoder_decoder import PEFTEncoderDecoder, sliding_windows

__all__ = ['CrossEarthSegmentor', 'PEFTEncoderDecoder', 'sliding_windows']
