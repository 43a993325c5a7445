# SPDX-License-Identifier: Apache-2.0
"""DomainIoUMetric: domains, batches, order, sizes, processes, and the hook that reports it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import distributed
from torch.multiprocessing import spawn
from torch.utils.data import Dataset

from crossearth.errors import ConfigError, DataError
from crossearth.evaluation import (
    DomainIoUMetric,
    DomainReportHook,
    confusion,
    read_report,
    scores,
)
from crossearth.registry import HOOKS, METRICS

CLASSES = ('water', 'forest', 'field')
META = {'classes': CLASSES, 'domains': ('home', 'far', 'north')}
DOMAINS = ('far', 'home', 'north', 'far')  # interleaved, unequal shares


@pytest.fixture(autouse=True)
def _forget_scope(monkeypatch):
    # a Runner leaves its default scope behind, which would redirect look-ups in later tests
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())


def sample(index):
    """Sample `index`: maps of its own size, its domain, some pixels ignored."""
    g = torch.Generator().manual_seed(index)
    shape = (1, 5 + index % 4, 7 + index % 3)
    label = torch.randint(3, shape, generator=g)
    prediction = torch.where(
        torch.rand(shape, generator=g) < 0.5, torch.randint(3, shape, generator=g), label)
    label[torch.rand(shape, generator=g) < 0.1] = 255
    return {
        'pred_sem_seg': {'data': prediction}, 'gt_sem_seg': {'data': label.to(torch.uint8)},
        # no path may decide the domain: each of these holds the names of two
        'domain': DOMAINS[index % 4], 'img_path': f'home/far/{index % 2}.png'}


def evaluate(samples, batch_size=1, meta=META, **kwargs):
    metric = DomainIoUMetric(source='home', **kwargs)
    metric.dataset_meta = meta
    for start in range(0, len(samples), batch_size):
        metric.process(None, samples[start:start + batch_size])
    return metric.evaluate(len(samples)), metric


def expected(samples):
    """Mean IoU by domain from one confusion matrix over all its pixels."""
    out = {}
    for name in ('home', 'far', 'north'):
        mine = [s for s in samples if s['domain'] == name]
        predictions = torch.cat([s['pred_sem_seg']['data'].flatten() for s in mine])
        labels = torch.cat([s['gt_sem_seg']['data'].flatten() for s in mine])
        out[name] = 100 * scores(confusion(predictions, labels, 3)).mean_iou
    return out


@pytest.mark.parametrize('batch_size', [1, 2, 3, 7, 50])
def test_domains_do_not_mix_in_a_batch(batch_size):
    samples = [sample(i) for i in range(23)]
    numbers, _ = evaluate(samples, batch_size)
    for name, value in expected(samples).items():
        assert numbers[f'{name}/mIoU'] == pytest.approx(value, abs=0.005)


def test_order_does_not_matter():
    samples = [sample(i) for i in range(23)]
    shuffled = [samples[i] for i in np.random.default_rng(1).permutation(23)]
    assert evaluate(samples, 4)[0] == evaluate(shuffled, 3)[0]


def test_names_and_means_of_the_log():
    samples = [sample(i) for i in range(12)]
    numbers, metric = evaluate(samples)
    means = expected(samples)
    assert numbers['unseen_mIoU'] == pytest.approx((means['far'] + means['north']) / 2, abs=0.005)
    assert numbers['source_mIoU'] == numbers['home/mIoU']
    assert {key.partition('/')[2] for key in numbers if '/' in key} == {'mIoU', 'aAcc', 'mF1'}
    assert list(metric.report.domains) == ['home', 'far', 'north']
    assert metric.report.domains['far'].num_samples == 6


def test_binary_task_logs_the_foreground():
    numbers, _ = evaluate([sample(i) for i in range(4)], foreground=2)
    assert numbers['unseen_IoU'] == pytest.approx(
        (numbers['far/IoU'] + numbers['north/IoU']) / 2, abs=0.01)
    assert 'unseen_mIoU' in numbers


def test_undefined_number_is_left_out_of_the_log():
    one = sample(0)
    one['gt_sem_seg']['data'].fill_(0)
    numbers, _ = evaluate([one], foreground=2, domains=[])
    assert 'far/IoU' not in numbers
    assert 'unseen_IoU' not in numbers
    assert 'far/mIoU' in numbers


def test_domain_beyond_the_expected_ones_is_reported_too():
    _, metric = evaluate([sample(i) for i in range(4)], domains=['north'])
    assert list(metric.report.domains) == ['north', 'far', 'home']


@pytest.mark.parametrize('kwargs', [{}, {'domains': ['home', 'south']}])
def test_missing_domain_is_an_error(kwargs):
    with pytest.raises(DataError, match=r"no sample of the domains \['\w+'\] was tested, only of"):
        evaluate([sample(0), sample(1)], **kwargs)


def test_domain_without_labels_is_an_error():
    blank = sample(2)
    blank['gt_sem_seg']['data'].fill_(255)
    with pytest.raises(DataError, match=r"\['north'\] have no labelled pixel"):
        evaluate([sample(0), sample(1), blank])


@pytest.mark.parametrize(('change', 'message'), [
    ({'pred_sem_seg': {'data': torch.zeros(1, 2, 2)}}, r'home/far/0\.png: prediction \(2, 2\) and'),
    ({'gt_sem_seg': {'data': torch.full((1, 5, 7), 9)}}, r'home/far/0\.png: label .* value 9'),
])
def test_maps_that_do_not_fit_name_the_image(change, message):
    with pytest.raises(DataError, match=message):
        evaluate([{**sample(0), **change}])


def test_sample_without_domain():
    with pytest.raises(DataError, match=r'home/far/0\.png: the sample names no domain'):
        evaluate([{k: v for k, v in sample(0).items() if k != 'domain'}])


def test_bad_config():
    with pytest.raises(ConfigError, match='names no classes'):
        evaluate([sample(0)], meta={})
    with pytest.raises(ConfigError, match='foreground=3 is none of the classes'):
        evaluate([sample(0)], foreground=3)


def test_configs_find_metric_and_hook_by_name():
    assert METRICS.get('DomainIoUMetric') is DomainIoUMetric
    assert HOOKS.get('DomainReportHook') is DomainReportHook


def test_no_warning_about_a_prefix(caplog):
    DomainIoUMetric(source='home')
    assert 'prefix' not in caplog.text


class Samples(Dataset):
    """The samples above as a data set."""

    metainfo = META

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return sample(index)


class PassThrough(BaseModel):
    """A model whose predictions are already in the samples."""

    def forward(self, samples, mode):
        return samples

    def test_step(self, samples):
        return samples

    val_step = test_step


def make_runner(work_dir, length=7, batch_size=2):
    loader = {
        'dataset': Samples(length), 'batch_size': batch_size, 'collate_fn': list,
        'sampler': {'type': 'DefaultSampler', 'shuffle': False}}
    parts = {}
    for stage in ('test', 'val'):
        parts |= {f'{stage}_dataloader': loader, f'{stage}_cfg': {},
                  f'{stage}_evaluator': Evaluator([DomainIoUMetric(source='home')])}
    return Runner(
        PassThrough(), str(work_dir), custom_hooks=[DomainReportHook()], log_level='ERROR',
        experiment_name=f'{os.getpid()}-{length}-{batch_size}', **parts)


def test_hook_prints_and_writes_a_test(tmp_path, capsys):
    numbers = make_runner(tmp_path).test()
    printed = capsys.readouterr().out
    assert 'home (source)' in printed
    assert f'{numbers["unseen_mIoU"]:.2f}' in printed
    written = read_report(tmp_path / 'report.json')
    assert written.mean(written.unseen)['mIoU'] == pytest.approx(numbers['unseen_mIoU'], abs=0.005)
    assert (tmp_path / 'report.csv').is_file()
    assert not (tmp_path / 'val_report.json').exists()


def test_hook_keeps_validation_apart_from_the_test(tmp_path):
    make_runner(tmp_path).val()
    assert (tmp_path / 'val_report.json').is_file()
    assert not (tmp_path / 'report.json').exists()


def one_of_two(rank, folder):
    """Test as process `rank` of two."""
    os.chdir(folder)
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    for batch_size in (1, 2, 3):
        numbers = make_runner(Path(folder) / f'batch{batch_size}', batch_size=batch_size).test()
        (Path(folder) / f'{batch_size}-{rank}.json').write_text(json.dumps(numbers))
    distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    # 7 samples: the sampler repeats sample 0, which must not count twice
    spawn(one_of_two, (str(tmp_path),), nprocs=2)
    assert not (tmp_path / '.dist_test').exists()  # no exchange through the file system
    alone, metric = evaluate([sample(i) for i in range(7)])
    for batch_size in (1, 2, 3):
        report = read_report(tmp_path / f'batch{batch_size}' / 'report.json')
        assert report.to_dict() == metric.report.to_dict()
        for rank in (0, 1):
            assert json.loads((tmp_path / f'{batch_size}-{rank}.json').read_text()) == alone
