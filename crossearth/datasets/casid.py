# SPDX-License-Identifier: Apache-2.0
"""CASID: climate-aware satellite images of Asia, four climates.

Liu et al., "CASID", ISPRS Journal of Photogrammetry and Remote Sensing, 2023: 980 images of
5000 x 5000 px with five classes.
"""

from crossearth.datasets.base import DomainSegDataset, how_to_get
from crossearth.datasets.ids import Colours, from_one, from_zero
from crossearth.datasets.layouts import PREPARED, Layout
from crossearth.registry import DATASETS

__all__ = ['CASID']

PALETTE = [[0, 0, 0], [255, 255, 0], [85, 255, 0], [255, 0, 0], [0, 112, 255]]


@DATASETS.register_module()
class CASID(DomainSegDataset):
    """CASID; domains `sub`, `tem`, `tms` and `trf`.

    Layouts: `prepared`, and `release`, in which SubMs, TemMs, TroMs and TroRf hold

        SubMs/all_train/image/NAME.png    SubMs/all_train/label/NAME-label.png
        SubMs/all_test/image/NAME.png     SubMs/all_test/label/NAME-label.png

    The label folder of TroMs/all_test is called `label_id` in the release; both names are read.
    Its labels hold ids from 0, ids from 1 or colours: the copies differ from their description.
    """

    METAINFO = {
        'classes': ('background', 'building', 'forest', 'road', 'water'), 'palette': PALETTE,
        'domains': ('sub', 'tem', 'tms', 'trf')}
    LAYOUTS = (
        PREPARED,
        Layout('release', '{domain}/all_{split}/image',
               ('{domain}/all_{split}/label', '{domain}/all_{split}/label_id'),
               '.png', '-label.png',
               folders={'sub': 'SubMs', 'tem': 'TemMs', 'tms': 'TroMs', 'trf': 'TroRf'},
               # no pixel is without a class, so a 0 tells the two apart
               ids=(from_zero(5), from_one(5, zero=False), Colours.of(PALETTE))))
    HOW_TO_GET = how_to_get('casid')
