# SPDX-License-Identifier: Apache-2.0
"""CASID: climate-aware satellite images of Asia, four climates.

Liu et al., "CASID", ISPRS Journal of Photogrammetry and Remote Sensing, 2023: 980 images of
5000 x 5000 px with five classes.
"""

from pathlib import Path

from crossearth.datasets.base import DomainSegDataset
from crossearth.registry import DATASETS

__all__ = ['CASID']


@DATASETS.register_module()
class CASID(DomainSegDataset):
    """CASID in the layout of its release; domains `sub`, `tem`, `tms` and `trf`.

    Expected below `data_root`, for each of SubMs, TemMs, TroMs and TroRf:

        SubMs/all_train/image/NAME.png    SubMs/all_train/label/NAME-label.png
        SubMs/all_test/image/NAME.png     SubMs/all_test/label/NAME-label.png

    The label folder of TroMs/all_test is called `label_id` in the release; both names are read.
    """

    METAINFO = {
        'classes': ('background', 'building', 'forest', 'road', 'water'),
        'palette': [[0, 0, 0], [255, 255, 0], [85, 255, 0], [255, 0, 0], [0, 112, 255]],
        'domains': ('sub', 'tem', 'tms', 'trf')}
    FOLDERS = {'sub': 'SubMs', 'tem': 'TemMs', 'tms': 'TroMs', 'trf': 'TroRf'}
    IMG_DIR = '{domain}/all_{split}/image'
    ANN_DIR = '{domain}/all_{split}/label'
    SEG_MAP_SUFFIX = '-label.png'
    HOW_TO_GET = (
        'CASID is not shipped with CrossEarth: download it from '
        'https://huggingface.co/datasets/Linwei-Chen/CASID (CC BY 4.0; description at '
        'https://github.com/Linwei-Chen/CASID), unpack it so that data_root holds '
        'SubMs/all_train/image/*.png, SubMs/all_train/label/*-label.png, the same in '
        'SubMs/all_test, and likewise TemMs, TroMs and TroRf; then set data_root (default '
        'data/casid). To see the whole pipeline at once without a download, run `make demo`: '
        'it builds BlueMarble-Climate, a small stand-in for the same question.')

    def folders(self, domain: str) -> tuple[Path, Path]:
        """Image and label folder of a climate, whichever of its two names the latter has."""
        images, labels = super().folders(domain)
        renamed = labels.with_name('label_id')
        return images, renamed if renamed.is_dir() and not labels.is_dir() else labels
