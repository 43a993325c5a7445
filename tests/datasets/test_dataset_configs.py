# SPDX-License-Identifier: Apache-2.0
"""The data configs: what the train and test pipelines turn a sample into."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from crossearth.engine.complete import complete_data
from crossearth.registry import DATASETS

FOLDER = Path(__file__).resolve().parents[2] / 'configs' / '_base_' / 'datasets'
META = ('img_path', 'seg_map_path', 'ori_shape', 'img_shape', 'reduce_zero_label', 'domain')


@pytest.mark.parametrize(('name', 'img', 'ann', 'suffix', 'domain', 'size'), [
    ('bluemarble', '{}/subtropical_monsoon/images', '{}/subtropical_monsoon/labels', '.png',
     'subtropical_monsoon', (128, 128)),
    ('casid', 'SubMs/all_{}/image', 'SubMs/all_{}/label', '-label.png', 'sub', (1024, 1024))])
def test_both_pipelines(make_pairs, name, img, ann, suffix, domain, size) -> None:
    config = Config.fromfile(FOLDER / f'{name}.py')
    for split, loader in (('train', config.train_dataloader), ('test', config.test_dataloader)):
        root = make_pairs(img.format(split), ann.format(split), suffixes=('.png', suffix),
                          size=size)
        sample = DATASETS.build({**loader.dataset, 'data_root': str(root), 'domains': domain})[0]
        data = sample['data_samples']
        assert set(META) <= set(data.metainfo_keys())
        assert data.domain == domain
        assert sample['inputs'].dtype == torch.uint8
        assert sample['inputs'].shape[1:] == data.gt_sem_seg.data.shape[1:] == data.img_shape
        if split == 'test':
            assert data.img_shape == size
        else:
            assert max(data.img_shape) <= size[0]
            assert data.metainfo.keys() >= {'flip', 'flip_direction', 'scale_factor'}


@pytest.mark.parametrize(('name', 'targets'), [
    ('bluemarble', None), ('casid', ['sub', 'tem', 'tms', 'trf']),
    ('isprs', ['vaihingen', 'potsdam_rgb', 'potsdam_irrg'])])
def test_all_domains_are_tested_in_one_pass(name: str, targets: list[str] | None) -> None:
    config = Config.fromfile(FOLDER / f'{name}.py')
    config.merge_from_dict({'targets': targets} if targets else {})
    config = complete_data(config)
    tested = DATASETS.build({**config.test_dataloader.dataset, 'lazy_init': True})
    assert tested.metainfo['domains'] == tuple(config.test_evaluator.domains)
    assert len(tested.domains) == len(config.targets)
