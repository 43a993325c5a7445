# SPDX-License-Identifier: Apache-2.0
"""Folders -> samples: one file per family of data sets, and the checks that they share."""

from crossearth.datasets.base import DomainSegDataset, check_dataset
from crossearth.datasets.bluemarble import BlueMarbleClimate
from crossearth.datasets.casid import CASID

__all__ = ['CASID', 'BlueMarbleClimate', 'DomainSegDataset', 'check_dataset']
