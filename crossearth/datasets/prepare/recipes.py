# SPDX-License-Identifier: Apache-2.0
"""How the official download of each data set is laid out, and what becomes of it.

A recipe recognises a file by its path, whatever archive or folder it lies in, and names the way its
labels are stored. Splits, windows and label maps are those of the RSDG benchmark.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from crossearth.benchmark import DATA_SETS, DataSet
from crossearth.datasets.casid import CASID
from crossearth.datasets.isprs import ISPRS_PALETTE
from crossearth.datasets.labels import IGNORE_INDEX
from crossearth.datasets.prepare.encodings import ColourTable, Encoding, IdTable, Threshold
from crossearth.errors import ConfigError, suggest

__all__ = ['RECIPES', 'Recipe', 'Seen', 'Slot', 'find_recipe']

Options = Mapping[str, str]


@dataclass(frozen=True)
class Slot:
    """What a file is.

    Args:
        kind: Image or label.
        split: Split of the benchmark.
        domains: Domains that it belongs to; none where its path does not tell.
        name: Joins an image with its label.
        rank: Of two files for one slot the lower one is taken.
    """

    kind: Literal['image', 'label']
    split: str
    domains: tuple[str, ...]
    name: str
    rank: int = 0


@dataclass(frozen=True)
class Seen:
    """What was seen in some labels of a split and domain: whether colours, and which ids."""

    colours: bool
    ids: frozenset[int]


@dataclass(frozen=True)
class Recipe:
    """How one data set is prepared.

    Args:
        name: Name of the data set.
        place: Path of a file -> what it is, or None.
        labels: What was seen and the options -> how labels are stored; None to see more.
        example: Paths of an image and its label, for messages.
        img_suffix: Ending of the written images; `.png` where they are cut.
        window: Size and stride in px; None copies images byte by byte.
        look: Number of labels to see before `labels` is asked; 0 where it is known beforehand.
        options: Name -> its values, the default first.
        unneeded: Regular expression of archives of the download that are not opened.
        downloads: Addresses of the archives, where they may be fetched without asking.
    """

    name: str
    place: Callable[[str], Slot | None]
    labels: Callable[[Seen, Options], Encoding | None]
    example: tuple[str, str]
    img_suffix: str = '.png'
    window: tuple[int, int] | None = None
    look: int = 0
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unneeded: str = ''
    downloads: tuple[str, ...] = ()

    @property
    def facts(self) -> DataSet:
        """The data set in the benchmark."""
        return DATA_SETS[self.name]


def find_recipe(name: str) -> Recipe:
    """Find the recipe of a data set; `potsdam5` is read from the prepared `potsdam`.

    Raises:
        ConfigError: There is no such data set.
    """
    if (found := RECIPES.get('potsdam' if name == 'potsdam5' else name)) is None:
        raise ConfigError(f"There is no data set '{name}'.{suggest(name, RECIPES)} "
                          f'There are {", ".join(RECIPES)}.')
    return found


# ------------------------------------------------------------------------- ISPRS

POTSDAM_TRAIN = frozenset((
    '2_10', '2_11', '2_12', '3_10', '3_11', '3_12', '4_10', '4_11', '4_12', '5_10', '5_11',
    '5_12', '6_10', '6_11', '6_12', '6_7', '6_8', '6_9', '7_10', '7_11', '7_12', '7_7', '7_8',
    '7_9'))
POTSDAM_TEST = frozenset((
    '5_15', '6_15', '6_13', '3_13', '4_14', '6_14', '5_14', '2_13', '4_15', '2_14', '5_13',
    '4_13', '3_14', '7_13'))
VAIHINGEN_TRAIN = frozenset((
    '1', '11', '13', '15', '17', '21', '23', '26', '28', '3', '30', '32', '34', '37', '5', '7'))
VAIHINGEN_TEST = frozenset((
    '6', '24', '35', '16', '14', '22', '10', '4', '2', '20', '8', '31', '33', '27', '38', '12',
    '29'))
ISPRS_COLOURS = ColourTable(
    {(0, 0, 0): IGNORE_INDEX} | {(r, g, b): i for i, (r, g, b) in enumerate(ISPRS_PALETTE)})


def _potsdam(path: str) -> Slot | None:
    match = re.search(r'(?:^|/)top_potsdam_(\d+_\d+)_(RGB|IRRG|label_noBoundary)\.tiff?$', path)
    split = match and _split(match[1], POTSDAM_TRAIN, POTSDAM_TEST)
    if not match or not split:
        return None
    if match[2] == 'label_noBoundary':
        return Slot('label', split, ('potsdam_rgb', 'potsdam_irrg'), match[1])
    return Slot('image', split, (f'potsdam_{match[2].lower()}',), match[1])


def _vaihingen(path: str) -> Slot | None:
    # labels with boundaries have the names of images and lie in `gts_for_participants`
    match = re.search(r'(?:^|/)(top/)?top_mosaic_09cm_area(\d+)(_noBoundary)?\.tiff?$', path)
    split = match and _split(match[2], VAIHINGEN_TRAIN, VAIHINGEN_TEST)
    if not match or not split or bool(match[1]) == bool(match[3]):
        return None
    return Slot('label' if match[3] else 'image', split, ('vaihingen',), f'area{match[2]}')


def _split(tile: str, train: frozenset[str], test: frozenset[str]) -> str | None:
    return 'train' if tile in train else 'test' if tile in test else None


# ------------------------------------------------------------------------- LoveDA

LOVEDA_IDS = IdTable({0: IGNORE_INDEX} | {stored: stored - 1 for stored in range(1, 8)})


def _loveda(path: str) -> Slot | None:
    match = re.search(r'(?:^|/)(Train|Val)/(Urban|Rural)/(images|masks)_png/(\d+)\.png$', path)
    return match and Slot('image' if match[3] == 'images' else 'label', match[1].lower(),
                          (match[2].lower(),), match[4])


# ------------------------------------------------------------------------- buildings and roads

def _two_classes(seen: Seen, options: Options) -> Encoding:
    """0 and 1, or dark and bright; where only 0 was seen, `Threshold` refuses a later 1."""
    ones = 'the other labels of its folder hold 0 and 1 only. Use the files of one download only.'
    if max(seen.ids, default=0) == 1 and not seen.colours:
        return IdTable({0: 0, 1: 1}, range(2, 256), ones)
    return Threshold()


def _whu(path: str) -> Slot | None:
    match = re.search(r'(?:^|/)(train|val|test)/(image|label)/([\w-]+)\.tiff?$', path,
                      re.IGNORECASE)
    # names of the official archives and folders; the innermost one decides
    told = re.findall('(satellite|east asia|cropped image data)|(aerial|cropped image tiles)',
                      path, re.IGNORECASE)
    domains = ('satellite2' if told[-1][0] else 'aerial',) if told else ()
    return match and Slot('image' if match[2].lower() == 'image' else 'label', match[1].lower(),
                          domains, match[3])


def _deepglobe(path: str) -> Slot | None:
    match = re.search(r'(?:^|/)(?:(\w+)/)?(\d+)_(?:sat\.jpg|(mask\.png))$', path)
    if not match or match[1] in ('valid', 'test'):  # the labels of these are not public
        return None
    return Slot('label' if match[3] else 'image', 'train', ('deepglobe',), match[2])


def _massachusetts(path: str) -> Slot | None:
    match = re.search(r'(?:^|/)(train|valid|val|test)(?:/(sat|map)|(_labels\w*))?/(\w+)\.tiff?$',
                      path)
    return match and Slot('label' if match[2] == 'map' or match[3] else 'image',
                          match[1].replace('valid', 'val'), ('massachusetts',), match[4])


# ------------------------------------------------------------------------- RescueNet

RESCUENET_IDS = IdTable(
    {7: 0, 8: 0, 2: 1, 3: 1, 4: 1, 5: 1, 9: 2, 6: 3, 0: 4, 1: 4, 10: 4},
    (11,), 'it comes from version 1.0 of RescueNet, whose ids mean other classes. Download version '
           '2.0, with the ids 0 to 10.')


def _rescuenet(path: str) -> Slot | None:
    match = re.search(r'(?:^|/)(train|test)-(?:org-img/(\w+)\.jpg|label-img/(\w+)_lab\.png)$', path)
    return match and Slot('image' if match[2] else 'label', match[1], ('rescuenet',),
                          match[2] or match[3])


# ------------------------------------------------------------------------- CASID

CLIMATES = {'SubMs': 'sub', 'TemMs': 'tem', 'TroMs': 'tms', 'TroRf': 'trf'}
CASID_COLOURS = ColourTable(
    {(r, g, b): i for i, (r, g, b) in enumerate(CASID.METAINFO['palette'])})
CASID_FROM_0 = IdTable(
    {stored: stored for stored in range(5)},
    (5,), 'labels of its folder seemed to hold 0 to 4. Give --option ids=1 if they hold 1 to 5.')
CASID_FROM_1 = IdTable({0: IGNORE_INDEX} | {stored: stored - 1 for stored in range(1, 6)})


def _casid(path: str) -> Slot | None:
    match = re.search(rf'(?:^|/)({"|".join(CLIMATES)})/all_(train|test)/'
                      r'(?:image/([\w-]+)|(label|label_id)/([\w-]+)-label)\.png$', path)
    return match and Slot('image' if match[3] else 'label', match[2], (CLIMATES[match[1]],),
                          match[3] or match[5], rank=int(match[4] == 'label'))


def _casid_labels(seen: Seen, options: Options) -> Encoding | None:
    if seen.colours:
        return CASID_COLOURS
    if options['ids'] != 'auto':
        return CASID_FROM_1 if options['ids'] == '1' else CASID_FROM_0
    if 5 in seen.ids:
        return CASID_FROM_1
    return CASID_FROM_0 if 0 in seen.ids else None


RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in (
    Recipe('potsdam', _potsdam, lambda seen, options: ISPRS_COLOURS,
           ('2_Ortho_RGB/top_potsdam_2_10_RGB.tif', 'top_potsdam_2_10_label_noBoundary.tif'),
           window=(512, 512), unneeded='DSM|RGBIR|participants|Labels_all.zip'),
    Recipe('vaihingen', _vaihingen, lambda seen, options: ISPRS_COLOURS,
           ('top/top_mosaic_09cm_area1.tif', 'top_mosaic_09cm_area1_noBoundary.tif'),
           window=(512, 512)),
    Recipe('loveda', _loveda, lambda seen, options: LOVEDA_IDS,
           ('Train/Urban/images_png/1366.png', 'Train/Urban/masks_png/1366.png'),
           downloads=tuple(f'https://zenodo.org/records/5706578/files/{name}.zip'
                           for name in ('Train', 'Val'))),
    Recipe('whu', _whu, _two_classes,
           ('The cropped image tiles and raster labels/train/image/0.tif',
            'The cropped image tiles and raster labels/train/label/0.tif'),
           img_suffix='.tif', look=32),
    Recipe('deepglobe', _deepglobe, _two_classes, ('train/100034_sat.jpg', 'train/100034_mask.png'),
           img_suffix='.jpg', look=32),
    Recipe('massachusetts', _massachusetts, _two_classes,
           ('test/sat/10378780_15.tiff', 'test/map/10378780_15.tif'), img_suffix='.tiff', look=8,
           options={'white': ('score', 'ignore')}),
    Recipe('rescuenet', _rescuenet, lambda seen, options: RESCUENET_IDS,
           ('test/test-org-img/10781.jpg', 'test/test-label-img/10781_lab.png'),
           img_suffix='.jpg'),
    Recipe('casid', _casid, _casid_labels,
           ('SubMs/all_train/image/NAME.png', 'SubMs/all_train/label/NAME-label.png'),
           window=(1024, 994), look=8, options={'ids': ('auto', '0', '1')}),
)}
