# SPDX-License-Identifier: Apache-2.0
"""Segmentors: backbone, head, losses and inference in one."""

from .crossearth import CrossEarthSegmentor
from .daformer import DAFormerSegmentor
from .encoder_decoder import PEFTEncoderDecoder, sliding_windows
from .hrda import HRDASegmentor, fuse_scales

__all__ = [
    'CrossEarthSegmentor', 'DAFormerSegmentor', 'HRDASegmentor', 'PEFTEncoderDecoder',
    'fuse_scales', 'sliding_windows']
