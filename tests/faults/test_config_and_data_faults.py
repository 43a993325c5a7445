# SPDX-License-Identifier: Apache-2.0
"""Faults of configs, data and metrics, each through the door that a user comes in by.

The parts have tests of their own; these say that no row of the list is without one.
"""

import time

import numpy as np
import pytest
import torch
from PIL import Image

from crossearth.datasets import check_dataset
from crossearth.datasets.labels import read_label
from crossearth.engine.config import load_config
from crossearth.engine.runner import build_runner
from crossearth.errors import ConfigError, DataError
from crossearth.evaluation import DomainIoUMetric, confusion
from crossearth.transforms.loading import read_image


@pytest.mark.parametrize(('text', 'options', 'message'), [
    ("model = dict(decode_head=dict(type='RienMask2FormerHead'))", {},
     r"Did you mean 'ReinMask2FormerHead'\?"),
    ('trian_cfg = dict(max_iters=2)', {}, r"Did you mean 'train_cfg'\?"),
    ('', {'modle.x': 1}, r"Did you mean 'model'\?")])
def test_fault_12_config_typo(tiny_config, text, options, message):
    path = tiny_config.with_name('typo.py')
    path.write_text(f"_base_ = ['{tiny_config}']\n{text}\n")
    with pytest.raises(ConfigError, match=message):
        load_config(path, options)


def test_fault_13_classes_of_head_and_data_differ(tiny_config):
    with pytest.raises(ConfigError, match=r'model\.decode_head\.num_classes is 5, but '
                                          r'train_dataloader\.dataset has 2 classes'):
        build_runner(load_config(tiny_config, {'model.decode_head.num_classes': 5}))


def test_fault_14_no_data(tiny_config, tmp_path):
    cfg = load_config(tiny_config, {'train_dataloader.dataset.data_root': str(tmp_path / 'none')})
    start = time.monotonic()
    with pytest.raises(DataError, match='none'):
        check_dataset(cfg.train_dataloader.dataset)
    (tmp_path / 'tiles' / 'train' / 'dry' / 'images' / '0.png').rename(tmp_path / '0.png')
    for path in (tmp_path / 'tiles' / 'train' / 'dry' / 'images').iterdir():
        path.rename(path.with_suffix('.bmp'))
    with pytest.raises(DataError, match=r'\.bmp'):
        check_dataset(load_config(tiny_config).train_dataloader.dataset)
    assert time.monotonic() - start < 10  # mmengine's sampler would spin for ever


def test_fault_15_image_without_a_fitting_label(tiny_config, tmp_path):
    dataset = load_config(tiny_config).train_dataloader.dataset
    label = tmp_path / 'tiles' / 'train' / 'dry' / 'labels' / '0.png'
    Image.new('L', (8, 8)).save(label)
    with pytest.raises(DataError, match=r'0\.png'):
        check_dataset(dataset)
    label.unlink()
    with pytest.raises(DataError, match=r'0\.png'):
        check_dataset(dataset)
    image = tmp_path / 'tiles' / 'train' / 'dry' / 'images' / '0.png'
    image.write_bytes(image.read_bytes()[:60])
    with pytest.raises(DataError, match=r'0\.png'):
        read_image(image)
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(label)
    with pytest.raises(DataError, match=r'0\.png'):
        read_label(label)


@pytest.mark.parametrize(('value', 'dtype'), [(7, np.uint8), (256, np.uint16), (511, np.uint16)])
def test_fault_16_labels_that_no_class_has(tiny_config, tmp_path, value, dtype):
    label = tmp_path / 'tiles' / 'train' / 'dry' / 'labels' / '0.png'
    Image.fromarray(np.full((32, 32), value, dtype=dtype)).save(label)
    with pytest.raises(DataError, match=rf'(?s){value}.*0\.png|0\.png.*{value}'):
        check_dataset(load_config(tiny_config).train_dataloader.dataset)


def test_fault_17_many_pixels_and_many_tiles_are_counted_exactly():
    label = torch.zeros(1, 1).expand(5000, 4000).to(torch.uint8)  # 20 M > 2 ** 24 of one class
    matrix = confusion(label, label, 2)
    assert int(matrix[0, 0]) == 20_000_000
    total = sum(confusion(label[:7], label[:7], 2) for _ in range(1000))
    assert int(total[0, 0]) == 28_000_000


@pytest.mark.parametrize('batch_size', [1, 4])
def test_fault_18_interleaved_domains_with_misleading_paths(batch_size):
    def sample(index):
        domain = ('home', 'far')[index % 2]
        label = torch.full((1, 4, 4), index % 2, dtype=torch.uint8)
        prediction = label if domain == 'home' else 1 - label
        return {'pred_sem_seg': {'data': prediction}, 'gt_sem_seg': {'data': label},
                'domain': domain, 'img_path': 'home/far/same_name.png'}

    def evaluate(samples):
        metric = DomainIoUMetric(source='home')
        metric.dataset_meta = {'classes': ('a', 'b'), 'domains': ('home', 'far')}
        for start in range(0, len(samples), batch_size):
            metric.process(None, samples[start:start + batch_size])
        return metric.evaluate(len(samples))

    scores = evaluate([sample(index) for index in range(8)])
    assert scores['home/mIoU'] == 100
    assert scores['far/mIoU'] == 0
    with pytest.raises(DataError, match='far'):
        evaluate([sample(0), sample(2)])
