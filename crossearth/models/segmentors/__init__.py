# SPDX-License-Identifier: Apache-2.0
"""Segmentors: backbone, head, losses and inference in one."""

from .encoder_decoder import PEFTEncoderDecoder, sliding_windows

__all__ = ['PEFTEncoderDecoder', 'sliding_windows']
