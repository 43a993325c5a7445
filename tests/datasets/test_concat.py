# SPDX-License-Identifier: Apache-2.0
"""Several data sets as one."""

import copy
import pickle

import pytest
from mmengine.runner import Runner

from crossearth.benchmark import ISPRS
from crossearth.datasets import DomainConcat, check_dataset
from crossearth.errors import ConfigError, DataError
from crossearth.registry import DATASETS

PIPELINE = [{'type': 'LoadImage'}, {'type': 'LoadLabel'},
            {'type': 'PackSegInputs', 'meta_keys': ('domain',)}]


@pytest.fixture
def members(write_pair, write_index) -> list[dict]:
    """Vaihingen as it was prepared, and Potsdam's two band sets from the converters."""
    write_pair('v/test/vaihingen/images/1.png', 'v/test/vaihingen/labels/1.png', [0, 5])
    for domain, name in (('potsdam_rgb', '2'), ('potsdam_irrg', '3')):
        root = write_pair(f'p/{domain}/img_dir/val/{name}.png',
                          f'p/{domain}/ann_dir/val/{name}.png', [0, 6])
    write_index(root / 'v', ISPRS)
    return [{'type': 'Potsdam', 'data_root': str(root / 'p')},
            {'type': 'Vaihingen', 'data_root': str(root / 'v')}]


def test_domains_in_their_order(members) -> None:
    domains = ('potsdam_irrg', 'vaihingen', 'potsdam_rgb')
    dataset = DomainConcat(members, domains, 'test', pipeline=PIPELINE)
    assert dataset.metainfo['domains'] == domains
    assert dataset.metainfo['classes'][0] == 'impervious_surface'
    found = [(sample['data_samples'].domain, sample['data_samples'].gt_sem_seg.data[0].tolist())
             for sample in dataset]
    assert found == [('potsdam_irrg', [[255, 5]]), ('vaihingen', [[0, 5]]),
                     ('potsdam_rgb', [[255, 5]])]
    assert [len(DomainConcat(members, split='test', indices=n)) for n in (1, [0, 2])] == [1, 2]
    assert len(DomainConcat(members, split='test')) == 3


def test_only_members_of_chosen_domains_are_built(members) -> None:
    members[0]['data_root'] = 'nowhere'
    assert len(DomainConcat(members, 'vaihingen', 'test')) == 1
    lazy = DomainConcat(members, ['vaihingen', 'potsdam_rgb'], 'test', lazy_init=True)
    with pytest.raises(DataError, match=r'Potsdam: the data root .*nowhere does not exist'):
        lazy.full_init()


def test_a_member_keeps_its_own_split_and_domains(members) -> None:
    members[0]['domains'] = ['potsdam_rgb']
    members[1]['split'] = 'test'
    dataset = DomainConcat(members, 'vaihingen')
    assert len(dataset) == 1
    with pytest.raises(ConfigError, match=r"no member holds the domain 'potsdam_irgb'\. Did you "
                                          r"mean 'potsdam_rgb'\? They hold potsdam_rgb, vaihin"):
        DomainConcat(members, 'potsdam_irgb')


@pytest.mark.parametrize(('change', 'message'), [
    ({'type': 'LoveDA'}, r"the domains \('potsdam_rgb', 'potsdam_irrg'\) have the classes .*, but"),
    ({'type': 'Potsdam5'}, "the members 0 and 1 both hold 'potsdam_rgb'"),
    ({'type': 'FolderDataset'}, "member of type 'FolderDataset' names no domains"),
    ({'pipeline': []}, "member of type 'Vaihingen' sets 'pipeline', which belongs"),
])
def test_members_that_do_not_go_together(members, change: dict, message: str) -> None:
    members[1] |= change
    with pytest.raises(ConfigError, match=message):
        DomainConcat(members, split='test')


def test_as_a_config(members) -> None:
    cfg = {'type': 'DomainConcat', 'datasets': members, 'split': 'test',
           'pipeline': [{'type': 'NoSuchTransform'}]}
    before = copy.deepcopy(cfg)
    assert check_dataset(cfg).metainfo['domains'] == ('potsdam_rgb', 'potsdam_irrg', 'vaihingen')
    assert cfg == before
    loader = Runner.build_dataloader({
        'dataset': DATASETS.build({**cfg, 'pipeline': PIPELINE}), 'batch_size': 2, 'num_workers': 0,
        'sampler': {'type': 'DefaultSampler', 'shuffle': False},
        'collate_fn': {'type': 'pseudo_collate'}})
    assert [sample.domain for batch in loader for sample in batch['data_samples']] == [
        'potsdam_rgb', 'potsdam_irrg', 'vaihingen']


def test_travels_to_a_worker_process(members) -> None:
    dataset = pickle.loads(pickle.dumps(DomainConcat(members, split='test', pipeline=PIPELINE)))
    assert dataset[2]['data_samples'].domain == 'vaihingen'
