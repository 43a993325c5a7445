# SPDX-License-Identifier: Apache-2.0
"""Pre-trained weights: their names and files, and how they get into a backbone."""

from crossearth.weight_files import cache_folder, file_sha256

from .loading import LoadReport, load_backbone, read_state_dict
from .sources import SOURCES, WeightSource, find_weights

__all__ = [
    'SOURCES',
    'LoadReport',
    'WeightSource',
    'cache_folder',
    'file_sha256',
    'find_weights',
    'load_backbone',
    'read_state_dict',
]
