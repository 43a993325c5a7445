# SPDX-License-Identifier: Apache-2.0
"""Gaps that follow from the data are filled; what a config sets stays."""

import pytest
from mmengine.config import Config

from crossearth.engine.complete import (
    complete_config,
    complete_data,
    dataset_classes,
    dataset_domains,
)
from crossearth.errors import ConfigError


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


@pytest.mark.parametrize('several', [False, True])
def test_auxiliary_heads_get_their_classes_too(several):
    heads = [{'type': 'FCNHead'}, {'type': 'FCNHead', 'num_classes': 2}]
    found = complete_config(config(
        auxiliary_head=heads if several else heads[0])).model.auxiliary_head
    assert [head.num_classes for head in (found if several else [found])] == [3, 2][:1 + several]


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


# ------------------------------------------------------------------------ what the top level names

def data_config(train=None, test=None, **top):
    return complete_data(Config({
        'train_dataloader': {'dataset': {'type': 'DomainSegDataset', **(train or {})}},
        'test_dataloader': {'dataset': {'type': 'DomainSegDataset', **(test or {})}},
        'test_evaluator': {'type': 'DomainIoUMetric'}, **top}))


TOP = {'data_root': 'data/mine', 'classes': ['a', 'b'], 'palette': [[0, 0, 0], [9, 9, 9]],
       'source': ['dry'], 'targets': ['wet', 'high']}


def test_top_level_names_reach_data_sets_and_evaluator():
    cfg = data_config(**TOP)
    data = {'type': 'DomainSegDataset', 'data_root': 'data/mine',
            'metainfo': {'classes': ['a', 'b'], 'palette': [[0, 0, 0], [9, 9, 9]]}}
    assert cfg.train_dataloader.dataset == {**data, 'domains': ['dry']}
    assert cfg.test_dataloader.dataset == {**data, 'domains': ['wet', 'high']}
    assert cfg.test_evaluator == {
        'type': 'DomainIoUMetric', 'source': ['dry'], 'domains': ['wet', 'high']}
    assert complete_data(cfg).to_dict() == cfg.to_dict()  # nothing is left to fill


def test_explicit_entries_win():
    cfg = data_config(
        train={'data_root': 'elsewhere', 'metainfo': {'classes': ['c']}},
        test={'domains': 'dry'}, **TOP,
        test_evaluator={'type': 'DomainIoUMetric', 'source': ['high'], 'domains': ['dry']})
    train = cfg.train_dataloader.dataset
    assert (train.data_root, train.metainfo.classes) == ('elsewhere', ['c'])
    assert cfg.test_dataloader.dataset.domains == 'dry'
    assert (cfg.test_evaluator.source, cfg.test_evaluator.domains) == (['high'], ['dry'])


def test_nothing_is_filled_from_nothing():
    cfg = data_config()
    assert cfg.train_dataloader.dataset == {'type': 'DomainSegDataset'}
    assert cfg.test_evaluator == {'type': 'DomainIoUMetric'}


def test_validation_is_on_the_source():
    cfg = data_config(
        **TOP, val_dataloader={'dataset': {'type': 'DomainSegDataset'}},
        val_evaluator=[{'type': 'DomainIoUMetric'}, {'type': 'IoUMetric'}])
    assert cfg.val_dataloader.dataset.domains == ['dry']
    assert cfg.val_evaluator[0].domains == ['dry']
    assert cfg.val_evaluator[1] == {'type': 'IoUMetric'}  # knows no domains


def test_domains_reach_the_outermost_data_set_that_takes_them_the_rest_the_innermost():
    member = {'type': 'DomainSegDataset'}
    cfg = data_config(
        train={'type': 'DomainConcat', 'datasets': [dict(member), {**member, 'data_root': 'own'}]},
        test={'type': 'RepeatDataset', 'times': 2, 'dataset': dict(member)}, **TOP)
    concat, repeat = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
    assert concat.domains == ['dry']
    assert [m.data_root for m in concat.datasets] == ['data/mine', 'own']
    assert all(m.metainfo.classes == ['a', 'b'] for m in concat.datasets)
    assert 'data_root' not in concat
    assert not any('domains' in m for m in concat.datasets)
    assert 'domains' not in repeat
    assert repeat.dataset.domains == ['wet', 'high']
    assert repeat.dataset.data_root == 'data/mine'


def test_a_data_set_without_a_type_is_refused():
    with pytest.raises(ConfigError, match=r"train_dataloader\.dataset has no 'type'.*_base_/datas"):
        data_config(train={'type': None})


def test_domains_of_a_loader():
    member = {'type': 'BlueMarbleClimate'}
    cfg = data_config(
        train={'domains': 'dry'},
        test={'type': 'ConcatDataset', 'datasets': [member, {'type': 'LoveDA'}]})
    assert dataset_domains(cfg, 'train') == ('dry',)
    assert dataset_domains(cfg, 'test') == (
        'subtropical_monsoon', 'temperate_monsoon', 'tropical_monsoon', 'tropical_rainforest',
        'urban', 'rural')
    assert dataset_domains(cfg, 'val') == ()


def test_classes_of_registered_and_nested_data_sets():
    bluemarble = {'type': 'BlueMarbleClimate'}
    nested = Config({'test_dataloader': {'dataset': {
        'type': 'ConcatDataset', 'datasets': [bluemarble]}}})
    assert len(dataset_classes(nested)) == 6
    assert dataset_classes(Config({})) == ()
