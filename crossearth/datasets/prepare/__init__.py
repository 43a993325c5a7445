# SPDX-License-Identifier: Apache-2.0
"""Official downloads -> the prepared layout that every data set of the benchmark reads."""

from crossearth.datasets.prepare.checking import Report, check
from crossearth.datasets.prepare.recipes import RECIPES, Recipe, find_recipe
from crossearth.datasets.prepare.run import prepare

__all__ = ['RECIPES', 'Recipe', 'Report', 'check', 'find_recipe', 'prepare']
