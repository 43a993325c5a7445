# SPDX-License-Identifier: Apache-2.0
"""Running: configs, runners, hooks and optimisers."""

from . import hooks, optim
from .complete import complete_config
from .config import check_classes, load_config
from .runner import build_runner, load_checkpoint, load_pretrained, preflight

__all__ = [
    'build_runner',
    'check_classes',
    'complete_config',
    'hooks',
    'load_checkpoint',
    'load_config',
    'load_pretrained',
    'optim',
    'preflight',
]
