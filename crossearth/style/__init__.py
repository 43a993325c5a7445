# SPDX-License-Identifier: Apache-2.0
"""Earth-Style Injection (arXiv 2410.22629, Eq. 1-6): from statistics of styles to styled images."""

from .masks import BlockMaskGenerator
from .nets import StyleNets, build_style_nets
from .statistics import StyleStatistics

__all__ = ['BlockMaskGenerator', 'StyleNets', 'StyleStatistics', 'build_style_nets']
