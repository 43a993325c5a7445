# SPDX-License-Identifier: Apache-2.0
"""`crossearth.datasets.base` and the checks that it calls."""

import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from crossearth.datasets import DomainSegDataset, check_dataset, checks
from crossearth.datasets.labels import StoredLabel
from crossearth.errors import ConfigError, DataError
from crossearth.registry import DATASETS

META = {'classes': ('a', 'b', 'c'), 'palette': [[0, 0, 0], [9, 9, 9], [99, 99, 99]]}


def build(root: Path, **kwargs) -> DomainSegDataset:
    return DomainSegDataset(**{'data_root': str(root), 'domains': 'dry', 'metainfo': META} | kwargs)


def overwrite(path: Path, array: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(path.suffix, array)[1].tobytes())


def test_two_domains_in_the_given_order(make_pairs) -> None:
    make_pairs('train/dry/images', 'train/dry/labels', names=('z', 'a'))
    root = make_pairs('train/wet/images', 'train/wet/labels', names=('m',))
    dataset = build(root, domains=['wet', 'dry'], label_map={7: 255})
    found = [(dataset[i]['domain'], Path(dataset[i]['img_path']).stem) for i in range(len(dataset))]
    assert found == [('wet', 'm'), ('dry', 'a'), ('dry', 'z')]
    assert dataset.metainfo == {**META, 'domains': ('wet', 'dry')}
    assert dataset[2] == {
        'img_path': str(root / 'train/dry/images/z.png'),
        'seg_map_path': str(root / 'train/dry/labels/z.png'),
        'domain': 'dry', 'num_classes': 3, 'label_map': {7: 255}, 'reduce_zero_label': False,
        'unknown_label': 'error', 'threshold': None, 'colours': None, 'seg_fields': [],
        'sample_idx': 2}


def test_layout_of_mmseg_is_one_domain(make_pairs) -> None:
    root = make_pairs('img_dir/val', 'ann_dir/val', names=('city/a', 'b'),
                      suffixes=('.jpg', '.png'))
    dataset = build(root, domains='potsdam', split='val', img_dir='img_dir/{split}',
                    ann_dir='ann_dir/{split}', img_suffix='.jpg')
    assert [sample['domain'] for sample in dataset] == ['potsdam', 'potsdam']
    assert dataset[1]['seg_map_path'].endswith('ann_dir/val/city/a.png')


def test_hidden_files_are_no_samples(make_pairs) -> None:
    root = make_pairs()
    (root / 'train/dry/images/._a.png').write_bytes(b'macOS')
    assert len(build(root)) == 2


def test_palette_is_made_where_none_is_given(make_pairs) -> None:
    palette = build(make_pairs(), metainfo={'classes': ['a', 'b', 'c']}).metainfo['palette']
    assert len({tuple(colour) for colour in palette}) == 3


def test_pipeline_resolves_without_a_runner(make_pairs) -> None:
    pipeline = [{'type': 'LoadImage'}, {'type': 'LoadLabel'}, {'type': 'RandomFlip', 'prob': 0.5},
                {'type': 'PackSegInputs', 'meta_keys': ('img_path', 'domain')}]
    sample = build(make_pairs(), pipeline=pipeline)[0]
    assert tuple(sample['inputs'].shape) == (3, 6, 8)
    assert sample['data_samples'].domain == 'dry'
    assert tuple(sample['data_samples'].gt_sem_seg.data.shape) == (1, 6, 8)


# --- what can be wrong with the files


def test_missing_root_says_how_to_get_the_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'data root .*nowhere does not exist\. Set data_root to'):
        build(tmp_path / 'nowhere')


def test_missing_folder_names_what_is_there(make_pairs) -> None:
    root = make_pairs()
    with pytest.raises(DataError, match=r"dray.images does not exist; .*train holds the folders "
                                        r"dry\. Did you mean 'dry'\? Correct"):
        build(root, domains='dray')


def test_wrong_suffix_counts_what_is_there(make_pairs) -> None:
    root = make_pairs()
    (root / 'train/dry/images/notes.txt').touch()
    start = time.perf_counter()
    with pytest.raises(DataError, match=r"ends in '\.tif'; the folder holds 2 \.png, 1 \.txt\."):
        build(root, img_suffix='.tif')
    assert time.perf_counter() - start < 1


def test_empty_folder(make_pairs) -> None:
    root = make_pairs()
    shutil.rmtree(root / 'train/dry/images')
    (root / 'train/dry/images').mkdir()
    with pytest.raises(DataError, match=r'No image in .*the folder is empty'):
        build(root)


def test_images_without_label_are_counted_and_listed(make_pairs) -> None:
    root = make_pairs(names=[f't{i}' for i in range(9)])
    for i in range(7):
        (root / f'train/dry/labels/t{i}.png').unlink()
    with pytest.raises(DataError, match=r'7 of 9 images .*: t0\.png, t1\.png, t2\.png, t3\.png, '
                                        r't4\.png, \.\.\.\. The label folder holds 2 \.png'):
        build(root)


def test_label_of_another_size(make_pairs) -> None:
    root = make_pairs()
    overwrite(root / 'train/dry/labels/b.png', np.zeros((3, 4), np.uint8))
    with pytest.raises(DataError, match=r'b\.png is 4 x 3 px, but its image .*b\.png is 8 x 6 px'):
        build(root)


def test_label_values_out_of_range(make_pairs) -> None:
    root = make_pairs(classes=5)
    with pytest.raises(DataError, match=r'a\.png holds 3 .*\(2 of 2 labels read have such a fault'):
        build(root)
    assert len(build(root, unknown_label='ignore')) == 2


def test_damaged_header(make_pairs) -> None:
    root = make_pairs()
    (root / 'train/dry/images/a.png').write_bytes(b'not a picture')
    with pytest.raises(DataError, match=r'Cannot read the header of .*a\.png'):
        build(root)


def test_large_sets_are_sampled_evenly(make_pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_pairs(names=[f't{i}' for i in range(10)])
    read: list[str] = []
    monkeypatch.setattr(checks, 'MAX_LABELS_READ', 4)
    monkeypatch.setattr(checks, 'read_stored', lambda path: (
        read.append(path.stem), StoredLabel(path, {0: 1}))[1])
    build(root)
    assert sorted(read) == ['t0', 't2', 't5', 't7']


# --- what can be wrong with the config


@pytest.mark.parametrize(('kwargs', 'message'), [
    ({'metainfo': None}, 'does not know its classes'),
    ({'metainfo': {**META, 'palette': [[0, 0, 0]]}}, '3 classes but 1 colours'),
    ({'domains': None}, 'needs a name for its domain'),
    ({'domains': ('dry', 'dry')}, 'names a domain twice'),
    ({'domains': ('dry', 'wet'), 'img_dir': 'images'}, r'same folder .*images\. Put \{dom'),
    ({'ann_dir': '{domian}/labels'}, r"no valid template \(KeyError\('domian'\)"),
    ({'layout': 'preparde'}, r"no layout 'preparde'\. Did you mean 'prepared'\? It has prepared"),
])
def test_contradictory_config(make_pairs, kwargs: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(make_pairs(), **kwargs)


@pytest.mark.parametrize(('domains', 'hint'), [
    ('temperate_monsun', r" Did you mean 'temperate_monsoon'\?"), ('mars', '')])
def test_unknown_domain_of_a_class(domains: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=rf"no domain '{domains}'\.{hint} It has tropical_rainf"):
        DATASETS.build({'type': 'BlueMarbleClimate', 'data_root': '.', 'domains': domains})


def test_other_classes_need_a_label_map(make_pairs) -> None:
    root = make_pairs('SubMs/all_train/image', 'SubMs/all_train/label',
                      suffixes=('.png', '-label.png'), classes=5)
    cfg = {'type': 'CASID', 'data_root': str(root), 'domains': 'sub',
           'metainfo': {'classes': ('other', 'water'), 'palette': META['palette'][:2]}}
    with pytest.raises(ConfigError, match='Give label_map'):
        check_dataset(cfg)
    mapped = check_dataset({**cfg, 'label_map': {0: 0, 1: 0, 2: 0, 3: 0, 4: 1}})
    assert mapped.metainfo['classes'] == ('other', 'water')


def test_check_dataset_ignores_the_pipeline(make_pairs) -> None:
    cfg = {'type': 'DomainSegDataset', 'data_root': str(make_pairs()), 'domains': 'dry',
           'metainfo': META, 'pipeline': [{'type': 'NoSuchTransform'}]}
    assert len(check_dataset(cfg)) == 2
