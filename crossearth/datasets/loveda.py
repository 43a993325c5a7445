# SPDX-License-Identifier: Apache-2.0
"""LoveDA: urban and rural satellite scenes of three Chinese cities at 0.3 m.

Wang et al., "LoveDA", NeurIPS Datasets and Benchmarks, 2021. The labels of its test split are
hidden, so the benchmark tests on `val`.
"""

from crossearth.datasets.base import DomainSegDataset, how_to_get
from crossearth.datasets.ids import from_one, from_zero
from crossearth.datasets.layouts import PREPARED, Layout
from crossearth.registry import DATASETS

__all__ = ['LoveDA']


@DATASETS.register_module()
class LoveDA(DomainSegDataset):
    """LoveDA; domains `urban` and `rural`, splits `train` and `val`.

    Layouts: `prepared`, and `official`, the unpacked Train.zip and Val.zip:
    `{Train,Val}/{Urban,Rural}/{images_png,masks_png}`. MMSegmentation's converter merges the two
    domains into one folder, from which they cannot be told apart.
    """

    METAINFO = {
        'classes': ('background', 'building', 'road', 'water', 'barren', 'forest', 'agriculture'),
        'palette': [[255, 255, 255], [255, 0, 0], [255, 255, 0], [0, 0, 255], [159, 129, 183],
                    [0, 255, 0], [255, 195, 128]],
        'domains': ('urban', 'rural')}
    LAYOUTS = (
        PREPARED,
        Layout('official', '{split}/{domain}/images_png', '{split}/{domain}/masks_png',
               folders={'urban': 'Urban', 'rural': 'Rural'},
               splits={'train': 'Train', 'val': 'Val'}, ids=(from_one(7), from_zero(7))))
    HOW_TO_GET = how_to_get('loveda')
