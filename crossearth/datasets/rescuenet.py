# SPDX-License-Identifier: Apache-2.0
"""From a town to a disaster: Potsdam and RescueNet in five common classes.

Rahnemoonfar, Chowdhury and Murphy, "RescueNet", Scientific Data, 2023: drone images after a
hurricane. The classes are those of CrossEarth, Table 2.
"""

from dataclasses import replace
from typing import Any

from crossearth.datasets.base import DomainSegDataset, how_to_get
from crossearth.datasets.ids import Ids, from_one, from_zero
from crossearth.datasets.isprs import ISPRS_CLASSES
from crossearth.datasets.labels import IGNORE_INDEX
from crossearth.datasets.layouts import PREPARED, Layout, converted
from crossearth.errors import ConfigError
from crossearth.registry import DATASETS

__all__ = ['LOW_VEGETATION', 'RESCUENET_MAP', 'Potsdam5', 'RescueNet']

CLASSES = ('impervious_surface', 'building', 'tree', 'car', 'clutter')
PALETTE = [[255, 255, 255], [0, 0, 255], [0, 255, 0], [255, 255, 0], [255, 0, 0]]

RESCUENET_MAP = {
    0: 4,  # background
    1: 4,  # water
    2: 1, 3: 1, 4: 1, 5: 1,  # building: without damage, minor, major, total destruction
    6: 3,  # vehicle
    7: 0, 8: 0,  # road: clear, blocked
    9: 2,  # tree
    10: 4,  # pool
}
"""Id of RescueNet 2.0 -> train id."""

LOW_VEGETATION = {'clutter': 4, 'ignore': IGNORE_INDEX, 'tree': 2}
"""What becomes of Potsdam's low vegetation, which RescueNet does not label -> train id."""


@DATASETS.register_module()
class RescueNet(DomainSegDataset):
    """RescueNet; domain `rescuenet`.

    Layouts: `prepared`, and `official`: `{train,val,test}-org-img/NAME.jpg` and
    `{train,val,test}-label-img/NAME_lab.png`, each pair of folders at the root or in a folder of
    its split. Labels hold the 11 ids of version 2.0, or 1 to 5 in the authors' processed copy.
    """

    METAINFO = {'classes': CLASSES, 'palette': PALETTE, 'domains': ('rescuenet',)}
    LAYOUTS = (
        PREPARED,
        Layout('official', ('{split}-org-img', '{split}/{split}-org-img'),
               ('{split}-label-img', '{split}/{split}-label-img'), '.jpg', '_lab.png',
               ids=(Ids('the 11 ids of RescueNet 2.0', 'reduce_zero_label=False',
                        frozenset(range(11)), {'label_map': RESCUENET_MAP},
                        # what the processed copy cannot hold; 0 is rare there, but allowed
                        evidence=frozenset({0, 6, 7, 8, 9, 10})),
                    from_one(5),
                    Ids('the 12 ids of RescueNet 1.0', '', frozenset(range(12)),
                        evidence=frozenset({11}),
                        refusal='Its ids have other meanings (debris, sand) than those of version '
                                '2.0, which the benchmark is made of: download that version.'))))
    HOW_TO_GET = how_to_get('rescuenet')


@DATASETS.register_module()
class Potsdam5(DomainSegDataset):
    """Potsdam in RescueNet's classes; domains `potsdam_rgb` and `potsdam_irrg`.

    Layouts: `prepared`, the prepared data set of `Potsdam`; and `converted`, the tree of
    MMSegmentation's converters with the five classes of the authors' processed copy, or with all
    six, which are told by the id 6.

    Args:
        *args: See `DomainSegDataset`.
        lowveg: What low vegetation becomes: `clutter`, `ignore` or `tree`. The paper's table says
            "removed"; that RescueNet's clutter holds grass speaks for the first.
        **kwargs: See `DomainSegDataset`.

    Raises:
        ConfigError: `lowveg` is another word.
        DataError: `lowveg` is chosen, but the labels have five classes already.
    """

    METAINFO = {'classes': CLASSES, 'palette': PALETTE, 'domains': ('potsdam_rgb', 'potsdam_irrg')}
    STORED_CLASSES = ISPRS_CLASSES
    LAYOUTS = (PREPARED, converted(()))
    HOW_TO_GET = how_to_get('potsdam')

    def __init__(self, *args: Any, lowveg: str = 'clutter', **kwargs: Any) -> None:
        if lowveg not in LOW_VEGETATION:
            raise ConfigError(f"lowveg must be one of {', '.join(LOW_VEGETATION)}, not '{lowveg}'.")
        self.lowveg = lowveg
        super().__init__(*args, **kwargs)

    def ways(self, layout: Layout) -> tuple[Ids, ...]:
        """Six classes through the map; in the converters' tree five as well."""
        to_five = {0: 0, 1: 1, 2: LOW_VEGETATION[self.lowveg], 3: 2, 4: 3, 5: 4}
        zero, one = (replace(way, text=f'{way.text}, six classes to five',
                             rule={**way.rule, 'label_map': to_five})
                     for way in (from_zero(6), from_one(6)))
        if layout.name == PREPARED.name:
            return (zero,)
        refusal = '' if self.lowveg == 'clutter' else (
            f"Their low vegetation is decided already, so lowveg='{self.lowveg}' cannot be chosen. "
            "Leave lowveg out, or read the prepared data set 'potsdam'.")
        return (*(replace(way, refusal=refusal) for way in (from_one(5), from_zero(5))),
                replace(one, evidence=frozenset({6})))
