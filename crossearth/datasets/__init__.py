# SPDX-License-Identifier: Apache-2.0
"""Folders -> samples: one file per family of data sets, and the checks that they share."""

from crossearth.datasets.base import DomainSegDataset, check_dataset
from crossearth.datasets.bluemarble import BlueMarbleClimate
from crossearth.datasets.casid import CASID
from crossearth.datasets.concat import DomainConcat
from crossearth.datasets.folder import FolderDataset
from crossearth.datasets.isprs import Potsdam, Vaihingen
from crossearth.datasets.loveda import LoveDA
from crossearth.datasets.rescuenet import Potsdam5, RescueNet
from crossearth.datasets.roads import DeepGlobeRoad, MassachusettsRoad
from crossearth.datasets.whu import WHUBuilding

__all__ = [
    'CASID', 'BlueMarbleClimate', 'DeepGlobeRoad', 'DomainConcat', 'DomainSegDataset',
    'FolderDataset', 'LoveDA', 'MassachusettsRoad', 'Potsdam', 'Potsdam5', 'RescueNet', 'Vaihingen',
    'WHUBuilding', 'check_dataset']
