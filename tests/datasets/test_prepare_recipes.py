# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from crossearth.benchmark import DATA_SETS
from crossearth.datasets.prepare import RECIPES, find_recipe
from crossearth.datasets.prepare.encodings import IdTable, Threshold
from crossearth.datasets.prepare.recipes import (
    CASID_COLOURS,
    CASID_FROM_0,
    CASID_FROM_1,
    LOVEDA_IDS,
    RESCUENET_IDS,
    Seen,
)
from crossearth.errors import ConfigError, DataError

WHU = '3. The cropped aerial image tiles and raster labels.zip/3. The cropped image tiles and'
EAST_ASIA = 'Satellite dataset Γàí (East Asia)/1. The cropped image data and raster labels'

PLACES = [
    ('potsdam', '2_Ortho_RGB.zip/2_Ortho_RGB/top_potsdam_2_10_RGB.tif',
     ('image', 'train', ('potsdam_rgb',), '2_10')),
    ('potsdam', 'P/3_Ortho_IRRG/top_potsdam_7_13_IRRG.tif',
     ('image', 'test', ('potsdam_irrg',), '7_13')),
    ('potsdam', '5.zip/top_potsdam_6_7_label_noBoundary.tif',
     ('label', 'train', ('potsdam_rgb', 'potsdam_irrg'), '6_7')),
    ('potsdam', '5_Labels_all/top_potsdam_6_7_label.tif', None),
    ('potsdam', 'top_potsdam_2_10_RGBIR.tif', None),
    ('vaihingen', 'V.zip/top/top_mosaic_09cm_area38.tif',
     ('image', 'test', ('vaihingen',), 'area38')),
    ('vaihingen', 'V.zip/gts_for_participants/top_mosaic_09cm_area1.tif', None),
    ('vaihingen', 'E.zip/top_mosaic_09cm_area1_noBoundary.tif',
     ('label', 'train', ('vaihingen',), 'area1')),
    ('loveda', 'Val.zip/Val/Rural/images_png/3514.png', ('image', 'val', ('rural',), '3514')),
    ('loveda', 'Train/Urban/masks_png/1366.png', ('label', 'train', ('urban',), '1366')),
    ('loveda', 'Test.zip/Test/Urban/images_png/4191.png', None),
    ('whu', f'{WHU} raster labels/train/image/1.tif', ('image', 'train', ('aerial',), '1')),
    ('whu', 'whu/aerial/val/label/1036.TIF', ('label', 'val', ('aerial',), '1036')),
    ('whu', f'{EAST_ASIA}/test/label/9.tif', ('label', 'test', ('satellite2',), '9')),
    ('whu', 'satellite/x/aerial/test/image/9.tif', ('image', 'test', ('aerial',), '9')),
    ('whu', 'unknown/test/image/9.tif', ('image', 'test', (), '9')),
    ('deepglobe', 'archive.zip/train/100034_sat.jpg', ('image', 'train', ('deepglobe',), '100034')),
    ('deepglobe', '100034_mask.png', ('label', 'train', ('deepglobe',), '100034')),
    ('deepglobe', 'archive.zip/valid/100035_sat.jpg', None),
    ('massachusetts', 'mass_roads/valid/sat/10228690_15.tiff',
     ('image', 'val', ('massachusetts',), '10228690_15')),
    ('massachusetts', 'mass_roads/test/map/10378780_15.tif',
     ('label', 'test', ('massachusetts',), '10378780_15')),
    ('massachusetts', 'tiff/test_labels/10378780_15.tif',
     ('label', 'test', ('massachusetts',), '10378780_15')),
    ('massachusetts', 'tiff/test/10378780_15.tiff',
     ('image', 'test', ('massachusetts',), '10378780_15')),
    ('rescuenet', 'R/test/test-org-img/10781.jpg', ('image', 'test', ('rescuenet',), '10781')),
    ('rescuenet', 'test-label-img/10781_lab.png', ('label', 'test', ('rescuenet',), '10781')),
    ('rescuenet', 'R/val/val-org-img/10781.jpg', None),
    ('casid', 'SubMs.zip/SubMs/all_train/image/a-1.png', ('image', 'train', ('sub',), 'a-1')),
    ('casid', 'TroMs/all_test/label_id/a-1-label.png', ('label', 'test', ('tms',), 'a-1')),
    ('casid', 'TroRf/all_test/label/a-1-label.png', ('label', 'test', ('trf',), 'a-1')),
]


@pytest.mark.parametrize(('name', 'path', 'expected'), PLACES)
def test_official_paths(name, path, expected):
    slot = RECIPES[name].place(path)
    assert (slot and (slot.kind, slot.split, slot.domains, slot.name)) == expected


@pytest.mark.parametrize('recipe', RECIPES.values(), ids=RECIPES)
def test_recipes_agree_with_the_benchmark(recipe):
    image, label = (recipe.place(path) for path in recipe.example)
    assert (image.kind, label.kind) == ('image', 'label')
    assert (image.split, image.name) == (label.split, label.name)
    assert set(image.domains) <= set(label.domains) <= set(DATA_SETS[recipe.name].domains)
    assert {url.rpartition('/')[2] for url in recipe.downloads} <= set(DATA_SETS[recipe.name].md5)


def test_label_of_ids_goes_before_a_painted_one():
    ranks = [RECIPES['casid'].place(f'TroMs/all_test/{folder}/a-label.png').rank
             for folder in ('label_id', 'label')]
    assert ranks[0] < ranks[1]


def ids(table, stored):
    return table.train_ids(np.array([stored], np.uint8), 'a.png')[0][0].tolist()


def test_loveda_ids():
    # no data, background, building, road, water, barren, forest, agriculture
    assert ids(LOVEDA_IDS, range(8)) == [255, 0, 1, 2, 3, 4, 5, 6]


def test_rescuenet_ids():
    surface, building, tree, car, clutter = range(5)
    assert ids(RESCUENET_IDS, range(11)) == [
        clutter,                                  # background
        clutter,                                  # water
        building, building, building, building,   # no, minor, major damage, total destruction
        car,                                      # vehicle
        surface, surface,                         # road clear, road blocked
        tree,
        clutter]                                  # pool


def test_rescuenet_of_version_1_is_refused():
    with pytest.raises(DataError, match=r'holds the id 11: it comes from version 1\.0'):
        ids(RESCUENET_IDS, [11])


def seen(*values, colours=False):
    return Seen(colours, frozenset(values))


@pytest.mark.parametrize(('found', 'option', 'expected'), [
    (seen(0, 85, 255, colours=True), 'auto', CASID_COLOURS),
    (seen(0, 1, 4), 'auto', CASID_FROM_0),
    (seen(1, 2, 5), 'auto', CASID_FROM_1),
    (seen(0, 1, 5), 'auto', CASID_FROM_1),
    (seen(1, 2, 4), 'auto', None),
    (seen(1, 2, 4), '0', CASID_FROM_0),
    (seen(1, 2, 4), '1', CASID_FROM_1)])
def test_casid_labels_are_told_apart(found, option, expected):
    assert RECIPES['casid'].labels(found, {'ids': option}) == expected


def test_casid_ids_from_0_and_from_1():
    assert ids(CASID_FROM_0, range(5)) == [0, 1, 2, 3, 4]
    assert ids(CASID_FROM_1, range(6)) == [255, 0, 1, 2, 3, 4]
    with pytest.raises(DataError, match='--option ids=1'):
        ids(CASID_FROM_0, [5])


@pytest.mark.parametrize('name', ['whu', 'deepglobe', 'massachusetts'])
def test_masks_of_one_and_of_255(name):
    labels = RECIPES[name].labels
    assert labels(seen(0, 255), {}) == labels(seen(0, 3, 251), {}) == Threshold(128)
    ones = labels(seen(0, 1), {})
    assert isinstance(ones, IdTable)
    assert ids(ones, [0, 1]) == [0, 1]
    with pytest.raises(DataError, match='holds the id 255: the other labels of its folder'):
        ids(ones, [255])


def test_find_recipe():
    assert find_recipe('potsdam5') is RECIPES['potsdam']
    with pytest.raises(ConfigError, match=r"no data set 'casdi'\. Did you mean 'casid'\?"):
        find_recipe('casdi')
