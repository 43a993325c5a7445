# SPDX-License-Identifier: Apache-2.0
"""Pre-trained weights: their names and files, and how they get into a model.

`crossearth.weights.checkpoints`, which loads whole segmentors, is not imported here: it needs the
models, and reading a file needs none of them.
"""

from crossearth.weight_files import cache_folder, file_sha256

from .loading import load_backbone
from .reading import Content, read_checkpoint, read_state_dict
from .recognition import Recognised, recognise
from .report import PartReport
from .sources import SOURCES, WeightSource, find_weights

__all__ = [
    'SOURCES',
    'Content',
    'PartReport',
    'Recognised',
    'WeightSource',
    'cache_folder',
    'file_sha256',
    'find_weights',
    'load_backbone',
    'read_checkpoint',
    'read_state_dict',
    'recognise',
]
