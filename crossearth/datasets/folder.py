# SPDX-License-Identifier: Apache-2.0
"""One's own folders of images and labels, a folder for each domain."""

from crossearth.datasets.base import DomainSegDataset
from crossearth.datasets.ids import BLURRED_MASK, Colours, Ids
from crossearth.datasets.layouts import Layout
from crossearth.registry import DATASETS

__all__ = ['FolderDataset']


@DATASETS.register_module()
class FolderDataset(DomainSegDataset):
    """Images in `<domain>/images`, labels of the same names in `<domain>/labels`.

        dataset=dict(
            type='FolderDataset', data_root='data/mine', domains=('dry', 'wet'),
            metainfo=dict(classes=('background', 'building')))

    Images and labels are PNG, JPEG or TIFF. Labels hold

    * ids from 0, with 255 = ignored (ids from 1: `reduce_zero_label=True`; others: `label_map`);
    * with two classes, a mask of 0 and 255, also one blurred by JPEG, divided at 128;
    * with `palette` in `metainfo`, the colours of the palette, as an RGB picture or a palette PNG.

    A mask of 0 and 255 alone might as well be background and ignored: say `label_map={255: 1}`.
    Other folders: `img_dir='{split}/{domain}/rgb'` and `ann_dir` alike.
    """

    LAYOUTS = (Layout('folder', '{domain}/images', '{domain}/labels', seg_map_suffix=None),)

    def ways(self, layout: Layout) -> tuple[Ids, ...]:
        """Ids, masks, and colours where the user gives them."""
        colours = (Colours.of(self._given_palette),) if self._given_palette else ()
        masks = (BLURRED_MASK,) if len(self._stored_classes()) == 2 else ()
        return super().ways(layout) + masks + colours
