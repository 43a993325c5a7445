# SPDX-License-Identifier: Apache-2.0
"""Roads from above: DeepGlobe 2018 (0.5 m, Asia) and Massachusetts (1 m).

Demir et al., "DeepGlobe 2018", CVPR Workshops, 2018; Mnih, "Machine Learning for Aerial Image
Labeling", PhD thesis, University of Toronto, 2013.
"""

from crossearth.datasets.base import DomainSegDataset, how_to_get
from crossearth.datasets.ids import MASKS
from crossearth.datasets.layouts import PREPARED, Layout
from crossearth.registry import DATASETS

__all__ = ['DeepGlobeRoad', 'MassachusettsRoad']

CLASSES = ('background', 'road')
PALETTE = [[0, 0, 0], [255, 255, 0]]


@DATASETS.register_module()
class DeepGlobeRoad(DomainSegDataset):
    """DeepGlobe roads; domain `deepglobe`, split `train`: the others have no public labels.

    Layouts: `prepared`, and `official`: `train/NNN_sat.jpg` beside `train/NNN_mask.png`.
    """

    METAINFO = {'classes': CLASSES, 'palette': PALETTE, 'domains': ('deepglobe',)}
    LAYOUTS = (PREPARED,
               Layout('official', '{split}', '{split}', '_sat.jpg', '_mask.png', ids=MASKS))
    HOW_TO_GET = how_to_get('deepglobe')


@DATASETS.register_module()
class MassachusettsRoad(DomainSegDataset):
    """Massachusetts roads; domain `massachusetts`.

    Layouts: `prepared`; `official`: `{train,valid,test}/{sat,map}`; and `processed`, the copy that
    the paper's authors test on: `test` and `test_labels_new` with masks of 0 and 1.
    """

    METAINFO = {'classes': CLASSES, 'palette': PALETTE, 'domains': ('massachusetts',)}
    LAYOUTS = (
        PREPARED,
        Layout('official', '{split}/sat', '{split}/map', seg_map_suffix=None,
               splits={'val': 'valid'}, ids=MASKS),
        Layout('processed', '{split}', '{split}_labels_new', seg_map_suffix=None, ids=MASKS))
    HOW_TO_GET = how_to_get('massachusetts')
