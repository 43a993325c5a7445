# SPDX-License-Identifier: Apache-2.0
"""ISPRS 2D semantic labelling: Potsdam in two band sets, and Vaihingen.

Both are airborne orthophotos of German towns with six classes. Potsdam (5 cm) exists in red, green
and blue and in near infrared, red and green; Vaihingen (9 cm) in the latter.
"""

from crossearth.datasets.base import DomainSegDataset, how_to_get
from crossearth.datasets.ids import from_one, from_zero
from crossearth.datasets.layouts import PREPARED, converted
from crossearth.registry import DATASETS

__all__ = ['ISPRS_CLASSES', 'ISPRS_PALETTE', 'Potsdam', 'Vaihingen']

ISPRS_CLASSES = ('impervious_surface', 'building', 'low_vegetation', 'tree', 'car', 'clutter')
ISPRS_PALETTE = [
    [255, 255, 255], [0, 0, 255], [0, 255, 255], [0, 255, 0], [255, 255, 0], [255, 0, 0]]
# the converters store 0 for the eroded boundaries
ISPRS_LAYOUTS = (PREPARED, converted((from_one(6), from_zero(6))))


@DATASETS.register_module()
class Potsdam(DomainSegDataset):
    """ISPRS Potsdam; domains `potsdam_rgb` and `potsdam_irrg`.

    Layouts: `prepared`, and `converted`, the `img_dir/{train,val}` and `ann_dir/{train,val}` of
    MMSegmentation's converters. They do not tell the band sets apart, so name the domain, or keep
    each in a folder of its name.
    """

    METAINFO = {'classes': ISPRS_CLASSES, 'palette': ISPRS_PALETTE,
                'domains': ('potsdam_rgb', 'potsdam_irrg')}
    LAYOUTS = ISPRS_LAYOUTS
    HOW_TO_GET = how_to_get('potsdam')


@DATASETS.register_module()
class Vaihingen(DomainSegDataset):
    """ISPRS Vaihingen; domain `vaihingen`. Layouts: as `Potsdam`."""

    METAINFO = {'classes': ISPRS_CLASSES, 'palette': ISPRS_PALETTE, 'domains': ('vaihingen',)}
    LAYOUTS = ISPRS_LAYOUTS
    HOW_TO_GET = how_to_get('vaihingen')
