# SPDX-License-Identifier: Apache-2.0
"""WHU Building: aerial images of Christchurch (0.3 m) and satellite images of East Asia (0.45 m).

Ji, Wei and Lu, "Fully Convolutional Networks for Multisource Building Extraction From an Open
Aerial and Satellite Imagery Data Set", IEEE TGRS, 2019; both in tiles of 512 px.
"""

from crossearth.datasets.base import DomainSegDataset, how_to_get
from crossearth.datasets.ids import MASKS
from crossearth.datasets.layouts import PREPARED, Layout
from crossearth.registry import DATASETS

__all__ = ['WHUBuilding']


@DATASETS.register_module()
class WHUBuilding(DomainSegDataset):
    """WHU Building; domains `aerial` and `satellite2`, the latter without `val`.

    Layouts: `prepared`, and `official`: the two downloads, unpacked into folders of these names, as
    `{aerial,satellite2}/{train,val,test}/{image,label}/NAME.tif` with masks of 0 and 255, or
    `label2` with masks of 0 and 1.
    """

    METAINFO = {'classes': ('background', 'building'), 'palette': [[0, 0, 0], [255, 0, 0]],
                'domains': ('aerial', 'satellite2')}
    LAYOUTS = (
        PREPARED,
        Layout('official', '{domain}/{split}/image',
               ('{domain}/{split}/label', '{domain}/{split}/label2'), seg_map_suffix=None,
               ids=MASKS))
    HOW_TO_GET = how_to_get('whu')
