# SPDX-License-Identifier: Apache-2.0
"""Every layout that a data set of the benchmark reads, in true folders and names."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from crossearth import benchmark, datasets
from crossearth.datasets.labels import LabelRule
from crossearth.errors import ConfigError, DataError
from crossearth.transforms import LoadLabel

# what a file stores -> train ids, written by hand from the descriptions of the data sets
SIX = ([0, 1, 2, 3, 4, 5, 6], [255, 0, 1, 2, 3, 4, 5])
SEVEN = ([0, 1, 2, 3, 4, 5, 6, 7], [255, 0, 1, 2, 3, 4, 5, 6])
FIVE = ([0, 1, 2, 3, 4, 5], [255, 0, 1, 2, 3, 4])
MASK = ([0, 255, 0, 255], [0, 1, 0, 1])
ONES = ([0, 1, 1, 0], [0, 1, 1, 0])
BLURRED = ([0, 3, 127, 128, 251, 255], [0, 0, 0, 1, 1, 1])
RESCUE = ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [4, 4, 1, 1, 1, 1, 3, 0, 0, 2, 4])
LOWVEG = ([0, 1, 2, 3, 4, 5, 6], [255, 0, 1, 4, 2, 3, 4])

LAYOUTS = [
    ('Potsdam', 'potsdam_rgb', 'train', 'converted', 'img_dir/train/2_10_0_0_512_512.png',
     'ann_dir/train/2_10_0_0_512_512.png', SIX),
    ('Potsdam', 'potsdam_irrg', 'test', 'converted',
     'potsdam_irrg/img_dir/val/2_13_0_0_512_512.png',
     'potsdam_irrg/ann_dir/val/2_13_0_0_512_512.png', SIX),
    ('Vaihingen', 'vaihingen', 'test', 'converted', 'img_dir/val/area2_0_0_512_512.png',
     'ann_dir/val/area2_0_0_512_512.png', SIX),
    ('LoveDA', 'urban', 'train', 'official', 'Train/Urban/images_png/1366.png',
     'Train/Urban/masks_png/1366.png', SEVEN),
    ('LoveDA', 'rural', 'val', 'official', 'Val/Rural/images_png/2522.png',
     'Val/Rural/masks_png/2522.png', SEVEN),
    ('WHUBuilding', 'aerial', 'val', 'official', 'aerial/val/image/0.tif',
     'aerial/val/label/0.tif', MASK),
    ('WHUBuilding', 'aerial', 'test', 'official', 'aerial/test/image/0.tif',
     'aerial/test/label2/0.tif', ONES),
    ('WHUBuilding', 'satellite2', 'train', 'official', 'satellite2/train/image/0.tif',
     'satellite2/train/label/0.tif', BLURRED),
    ('DeepGlobeRoad', 'deepglobe', 'train', 'official', 'train/100034_sat.jpg',
     'train/100034_mask.png', BLURRED),
    ('MassachusettsRoad', 'massachusetts', 'val', 'official', 'valid/sat/10228675_15.tiff',
     'valid/map/10228675_15.tif', MASK),
    ('MassachusettsRoad', 'massachusetts', 'test', 'processed', 'test/10378780_15.tiff',
     'test_labels_new/10378780_15.tif', ONES),
    ('RescueNet', 'rescuenet', 'test', 'official', 'test-org-img/10778.jpg',
     'test-label-img/10778_lab.png', RESCUE),
    ('RescueNet', 'rescuenet', 'train', 'official', 'train/train-org-img/10778.jpg',
     'train/train-label-img/10778_lab.png', RESCUE),
    ('RescueNet', 'rescuenet', 'test', 'official', 'test-org-img/10778.jpg',
     'test-label-img/10778_lab.png', ([1, 2, 3, 4, 5], [0, 1, 2, 3, 4])),
    ('Potsdam5', 'potsdam_rgb', 'train', 'converted', 'img_dir/train/2_10_0_0_512_512.png',
     'ann_dir/train/2_10_0_0_512_512.png', FIVE),
    ('Potsdam5', 'potsdam_irrg', 'train', 'converted', 'img_dir/train/2_10_0_0_512_512.png',
     'ann_dir/train/2_10_0_0_512_512.png', LOWVEG),
    ('CASID', 'sub', 'train', 'release', 'SubMs/all_train/image/1.png',
     'SubMs/all_train/label/1-label.png', ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])),
    ('CASID', 'tms', 'test', 'release', 'TroMs/all_test/image/1.png',
     'TroMs/all_test/label_id/1-label.png', ([1, 2, 3, 4, 5], [0, 1, 2, 3, 4])),
    ('CASID', 'trf', 'train', 'release', 'TroRf/all_train/image/1.png',
     'TroRf/all_train/label/1-label.png', (
         [[0, 0, 0], [255, 255, 0], [85, 255, 0], [255, 0, 0], [0, 112, 255]],
         [0, 1, 2, 3, 4])),
]


def read(dataset) -> list[int]:
    """Train ids of the only sample."""
    assert len(dataset) == 1
    return LoadLabel()(dataset[0])['gt_seg_map'][0].tolist()


@pytest.mark.parametrize(('name', 'domain', 'split', 'layout', 'image', 'label', 'table'), LAYOUTS)
def test_layouts_that_are_read_directly(write_pair, log, name, domain, split, layout, image, label,
                                        table) -> None:
    root = write_pair(image, label, table[0])
    dataset = getattr(datasets, name)(str(root), domain, split)
    assert read(dataset) == table[1]
    assert dataset[0]['domain'] == domain
    assert Path(dataset[0]['img_path']) == root / image
    assert f"{split} of {domain} in the layout '{layout}', labels as " in log()
    assert log().count('\n') == 0


@pytest.mark.parametrize('facts', benchmark.DATA_SETS.values(), ids=lambda facts: facts.name)
def test_prepared_layout(write_pair, write_index, facts) -> None:
    classes, expected = facts.classes, [*range(len(facts.classes)), 255]
    if facts.name == 'potsdam5':  # reads the files of potsdam
        classes, expected = benchmark.ISPRS, [0, 1, 4, 2, 3, 4, 255]
    stored = [*range(len(classes)), 255]
    domain, split = next(iter(facts.counts))
    root = write_pair(f'{split}/{domain}/images/1.jpg', f'{split}/{domain}/labels/1.png', stored)
    (root / f'{split}/{domain}/images/1.png').touch()  # the index names the kind of the images
    write_index(root, classes, img_suffix='.jpg')
    cls = getattr(datasets, facts.class_name)
    assert read(cls(str(root), domain, split)) == expected
    with pytest.raises(DataError, match=r"ends in '\.tif'"):
        cls(str(root), domain, split, img_suffix='.tif')
    assert cls.METAINFO['classes'] == facts.classes
    assert cls.METAINFO['domains'] == facts.domains
    assert len({tuple(colour) for colour in cls.METAINFO['palette']}) == len(facts.classes)


@pytest.mark.parametrize('name', ['potsdam', 'loveda', 'casid', 'whu', 'deepglobe', 'rescuenet'])
def test_missing_data_say_how_to_get_them(tmp_path: Path, name: str) -> None:
    cls = getattr(datasets, benchmark.DATA_SETS[name].class_name)
    for root, fault in ((tmp_path / 'no', 'does not exist'), (tmp_path, 'The folder is empty')):
        with pytest.raises(DataError, match=rf'{fault}\. `crossearth data info {name}`.*`crossearth'
                                            rf' data prepare {name} --src'):
            cls(str(root))


# --- what could be read in two ways, or in none


@pytest.mark.parametrize(('stored', 'shifted', 'expected'), [
    ([0, 1, 2, 3, 4, 5], True, [255, 0, 1, 2, 3, 4]),
    ([0, 1, 2, 3, 4, 5], False, [0, 1, 2, 3, 4, 5]),
    ([1, 2], True, [0, 1])])
def test_ids_that_fit_twice_need_an_argument(write_pair, stored, shifted, expected) -> None:
    root = write_pair('img_dir/train/a.png', 'ann_dir/train/a.png', stored)
    with pytest.raises(DataError, match=rf'Vaihingen at .*a\.png: {stored[0]}.*'
                                        r'reduce_zero_label=True \(ids 1 to 6, 0 = ignored\) or '
                                        r'reduce_zero_label=False \(ids 0 to 5, 255 = ignored\)'):
        datasets.Vaihingen(str(root))
    assert read(datasets.Vaihingen(str(root), reduce_zero_label=shifted)) == expected


def test_ids_from_zero_are_seen_by_their_ignored_pixels(write_pair, log) -> None:
    root = write_pair('img_dir/train/a.png', 'ann_dir/train/a.png', [0, 3, 5, 255])
    assert read(datasets.Vaihingen(str(root))) == [0, 3, 5, 255]
    assert 'labels as ids 0 to 5, 255 = ignored' in log()


def test_ids_that_contradict_each_other(write_pair) -> None:
    write_pair('SubMs/all_train/image/1.png', 'SubMs/all_train/label/1-label.png', [0, 1, 2, 3, 4])
    root = write_pair('TemMs/all_train/image/2.png', 'TemMs/all_train/label/2-label.png',
                      [1, 2, 3, 4, 5])
    with pytest.raises(DataError, match=r'2 were read\) hold 0 to 5, for example .*2-label\.png: '
                                        r'1 to 5\. No known reading fits'):
        datasets.CASID(str(root), ('sub', 'tem'))
    assert len(datasets.CASID(str(root), 'sub')) == len(datasets.CASID(str(root), 'tem')) == 1


@pytest.mark.parametrize('stored', [[0, 1, 255], [0, 1, 2], [0, 40]])
def test_masks_that_are_neither(write_pair, stored) -> None:
    root = write_pair('aerial/train/image/1.tif', 'aerial/train/label/1.tif', stored)
    with pytest.raises(DataError, match='No known reading fits'):
        datasets.WHUBuilding(str(root), 'aerial')


@pytest.mark.parametrize(('label_map', 'expected'), [
    ({255: 255}, [0, 1, 255]), ({1: 0, 255: 1}, [0, 0, 1])])
def test_a_label_map_settles_masks(write_pair, label_map, expected) -> None:
    root = write_pair('aerial/train/image/1.tif', 'aerial/train/label/1.tif', [0, 1, 255])
    assert read(datasets.WHUBuilding(str(root), 'aerial', label_map=label_map)) == expected


def test_a_mask_threshold_holds_for_the_whole_set(write_pair) -> None:
    write_pair('train/1_sat.jpg', 'train/1_mask.png', [0, 1, 1])  # noise of an empty tile
    root = write_pair('train/2_sat.jpg', 'train/2_mask.png', [0, 255, 254])
    ids = [LoadLabel()(sample)['gt_seg_map'][0].tolist() for sample in
           datasets.DeepGlobeRoad(str(root))]
    assert ids == [[0, 0, 0], [0, 1, 1]]


def test_empty_masks_are_all_background(write_pair) -> None:
    root = write_pair('train/1_sat.jpg', 'train/1_mask.png', [0, 0])
    assert read(datasets.DeepGlobeRoad(str(root))) == [0, 0]


def test_rescuenet_1_is_refused(write_pair) -> None:
    root = write_pair('val-org-img/1.jpg', 'val-label-img/1_lab.png', [*range(12)])
    with pytest.raises(DataError, match=r'hold 0 to 11: the 12 ids of RescueNet 1\.0.*download'):
        datasets.RescueNet(str(root), split='val')


def test_rescuenet_tells_its_copies_apart_or_asks(write_pair) -> None:
    root = write_pair('val-org-img/1.jpg', 'val-label-img/1_lab.png', [*range(6)])
    with pytest.raises(DataError, match=r'say which by reduce_zero_label=False \(the 11 ids of '
                                        r'RescueNet 2\.0\) or reduce_zero_label=True \(ids 1 to 5'):
        datasets.RescueNet(str(root), split='val')
    assert read(datasets.RescueNet(str(root), split='val', reduce_zero_label=False)) == [
        4, 4, 1, 1, 1, 1]


@pytest.mark.parametrize(('lowveg', 'train_id'), [('clutter', 4), ('ignore', 255), ('tree', 2)])
def test_low_vegetation_of_potsdam5(write_pair, write_index, lowveg: str, train_id: int) -> None:
    write_pair('train/potsdam_rgb/images/1.png', 'train/potsdam_rgb/labels/1.png',
               [0, 1, 2, 3, 4, 5, 255])
    root = write_pair('six/img_dir/val/1.png', 'six/ann_dir/val/1.png', SIX[0])
    write_index(root, benchmark.ISPRS)
    for folder, split, expected in ((root, 'train', [0, 1, train_id, 2, 3, 4, 255]),
                                    (root / 'six', 'test', [255, 0, 1, train_id, 2, 3, 4])):
        assert read(datasets.Potsdam5(str(folder), 'potsdam_rgb', split, lowveg=lowveg)) == expected


def test_low_vegetation_of_five_classes_is_decided(write_pair) -> None:
    root = write_pair('img_dir/train/1.png', 'ann_dir/train/1.png', FIVE[0])
    with pytest.raises(DataError, match=r"lowveg='tree' cannot be chosen.*prepared data set"):
        datasets.Potsdam5(str(root), 'potsdam_rgb', lowveg='tree')
    with pytest.raises(ConfigError, match=r"one of clutter, ignore, tree, not 'grass'"):
        datasets.Potsdam5(str(root), 'potsdam_rgb', lowveg='grass')


def test_16_bit_masks_are_read_and_colours_refused(write_pair) -> None:
    root = write_pair('Train/Urban/images_png/1.png', 'Train/Urban/masks_png/1.png', SEVEN[0],
                      np.uint16)
    assert read(datasets.LoveDA(str(root), 'urban')) == SEVEN[1]
    write_pair('Train/Urban/images_png/2.png', 'Train/Urban/masks_png/2.png', [[255, 0, 0]])
    with pytest.raises(DataError, match=r'masks_png/2\.png has three unequal channels'):
        datasets.LoveDA(str(root), 'urban')


def test_colours_and_ids_in_one_set(write_pair) -> None:
    write_pair('SubMs/all_train/image/1.png', 'SubMs/all_train/label/1-label.png', [[85, 255, 0]])
    root = write_pair('SubMs/all_train/image/2.png', 'SubMs/all_train/label/2-label.png', [0, 2])
    with pytest.raises(DataError, match=r'2-label\.png holds the colours \(2, 2, 2\) \(1 px\)'):
        datasets.CASID(str(root), 'sub')


# --- which layout


def test_two_layouts_in_one_root(write_pair) -> None:
    write_pair('test/1.tiff', 'test_labels_new/1.tif', ONES[0])
    root = write_pair('test/sat/1.tiff', 'test/map/1.tif', MASK[0])
    with pytest.raises(DataError, match=r"more than one layout: 'official' \(test/sat\), "
                                        r"'processed' \(test\)\. Say which by layout="):
        datasets.MassachusettsRoad(str(root), split='test')
    dataset = datasets.MassachusettsRoad(str(root), split='test', layout='official')
    assert read(dataset) == MASK[1]


def test_an_interrupted_preparation(write_pair, write_index) -> None:
    root = write_pair('train/urban/images/1.png', 'train/urban/labels/1.png', [0, 6])
    write_pair('Train/Urban/images_png/1.png', 'Train/Urban/masks_png/1.png', [2, 7])
    with pytest.raises(DataError, match=r'has no index\.json: .* has not finished'):
        datasets.LoveDA(str(root), 'urban')
    assert read(datasets.LoveDA(str(root), 'urban', layout='prepared')) == [0, 6]
    assert read(datasets.LoveDA(str(root), 'urban', layout='official')) == [1, 6]
    write_index(root, datasets.LoveDA.METAINFO['classes'])
    assert read(datasets.LoveDA(str(root), 'urban')) == [0, 6]


def test_a_split_that_is_not_there(write_pair) -> None:
    root = write_pair('Train/Urban/images_png/1.png', 'Train/Urban/masks_png/1.png', [1, 7])
    with pytest.raises(DataError, match=r"split 'val' .*'official' \(Val/Urban/images_png\)\. The "
                                        r'folder holds the folders Train'):
        datasets.LoveDA(str(root), 'urban', 'val')


def test_an_index_of_other_classes(write_pair, write_index) -> None:
    root = write_pair('train/urban/images/1.png', 'train/urban/labels/1.png', [0, 5])
    write_index(root, ['a', 'b'])
    with pytest.raises(DataError, match='train ids of background, building'):
        datasets.LoveDA(str(root), 'urban')
    (root / 'index.json').write_text('{')
    with pytest.raises(DataError, match=r'Cannot read .*index\.json'):
        datasets.LoveDA(str(root), 'urban')


def test_band_sets_of_converted_potsdam_need_a_name(write_pair) -> None:
    root = write_pair('img_dir/train/1.png', 'ann_dir/train/1.png', SIX[0])
    with pytest.raises(ConfigError, match=r'same folder .*img_dir/train\. .*or name one domain'):
        datasets.Potsdam(str(root))


def test_folders_of_ones_own_are_ids_from_zero(write_pair) -> None:
    root = write_pair('pictures/1.tif', 'ids/1.png', [*range(8)])
    kwargs = {'img_dir': 'pictures', 'ann_dir': 'ids'}
    with pytest.raises(DataError, match=r'holds 7 \(1 px\).* set reduce_zero_label=True if 0'):
        datasets.LoveDA(str(root), 'urban', **kwargs)
    assert read(datasets.LoveDA(str(root), 'urban', reduce_zero_label=True, **kwargs)) == SEVEN[1]


# --- the class maps, pixel by pixel


def test_five_classes_keep_every_pixel() -> None:
    """RescueNet's 11 ids, each on as many pixels as its id says."""
    stored = np.repeat(np.arange(11), np.arange(11))
    rule = LabelRule(5, label_map=datasets.rescuenet.RESCUENET_MAP)
    counts = Counter(rule.train_ids(stored, '').tolist())
    assert counts == {0: 7 + 8, 1: 2 + 3 + 4 + 5, 2: 9, 3: 6, 4: 0 + 1 + 10}
