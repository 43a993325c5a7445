# SPDX-License-Identifier: Apache-2.0
"""Pictures of images, labels and predictions."""

from .palettes import colorize, overlay
from .pictures import PictureRow, comparison_picture, save_picture

__all__ = ['PictureRow', 'colorize', 'comparison_picture', 'overlay', 'save_picture']
