# SPDX-License-Identifier: Apache-2.0
"""Gaps that follow from the data are filled; what a config sets stays."""

import pytest
from mmengine.config import Config

from crossearth.engine.complete import complete_config, dataset_classes


def config(**model):
    return Config({
        'crop_size': (64, 48),
        'model': {
            'backbone': {'type': 'DINOv2'}, 'decode_head': {'type': 'Mask2FormerHead'},
            'data_preprocessor': {'type': 'SegDataPreProcessor'}, 'test_cfg': {'mode': 'slide'},
            **model},
        'train_dataloader': {'dataset': {
            'type': 'DomainSegDataset', 'metainfo': {'classes': ('a', 'b', 'c')}}}})


def test_fills_classes_crop_and_window():
    model = complete_config(config()).model
    assert model.decode_head.num_classes == 3
    assert tuple(model.backbone.img_size) == (64, 48)
    assert tuple(model.data_preprocessor.size) == (64, 48)
    assert tuple(model.test_cfg.crop_size) == (64, 48)
    assert tuple(model.test_cfg.stride) == (43, 32)


def test_keeps_what_is_set_and_other_backbones_as_they_are():
    model = complete_config(config(
        backbone={'type': 'mmseg.ResNetV1c', 'depth': 18}, test_cfg={'mode': 'whole'},
        decode_head={'type': 'Mask2FormerHead', 'num_classes': 9})).model
    assert model.decode_head.num_classes == 9
    assert 'img_size' not in model.backbone
    assert 'stride' not in model.test_cfg


@pytest.mark.parametrize(('crop', 'stride'), [(512, 341), (1024, 683)])
def test_strides_are_the_published_ones(crop, stride):
    cfg = config()
    cfg.crop_size = (crop, crop)
    assert tuple(complete_config(cfg).model.test_cfg.stride) == (stride, stride)


def test_classes_of_registered_and_nested_data_sets():
    bluemarble = {'type': 'BlueMarbleClimate'}
    nested = Config({'test_dataloader': {'dataset': {
        'type': 'ConcatDataset', 'datasets': [bluemarble]}}})
    assert len(dataset_classes(nested)) == 6
    assert dataset_classes(Config({})) == ()
