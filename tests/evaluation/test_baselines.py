# SPDX-License-Identifier: Apache-2.0
"""Baselines that know nothing, and what the hook writes of them and of the run."""

import colorsys
import hashlib
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from PIL import Image
from rich.console import Console
from sklearn.metrics import confusion_matrix
from tiny_data import write_domain

from crossearth import compat
from crossearth.datasets import DomainSegDataset
from crossearth.engine.config import load_config
from crossearth.engine.runner import build_runner
from crossearth.errors import ConfigError, DataError
from crossearth.evaluation import DomainReport, DomainReportHook, DomainResult, read_report
from crossearth.evaluation import baselines as module
from crossearth.evaluation.baselines import (
    FEATURES,
    ColourThreshold,
    MajorityClass,
    fit_baselines,
    test_baselines,
)
from crossearth.evaluation.report import print_baselines
from crossearth.evaluation.runs import find_runs


def write(root, domain, pairs):
    """Write RGB images (H, W, 3) and labels (H, W) as a domain."""
    for kind in ('images', 'labels'):
        (root / 'train' / domain / kind).mkdir(parents=True)
    for index, pair in enumerate(pairs):
        for kind, array in zip(('images', 'labels'), pair, strict=True):
            path = root / 'train' / domain / kind / f'{index:03}.png'
            Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path)


def dataset(root, *domains, classes=('low', 'high')):
    return DomainSegDataset(str(root), domains, metainfo={'classes': classes})


def noise(rng, size=24):
    return rng.integers(0, 256, (size, size, 3))


# choosing on the source

@pytest.mark.parametrize(('label', 'rule'), [
    (lambda rgb: rgb[..., 0] > 128, ('red', 128, True)),
    (lambda rgb: rgb[..., 2] <= 90, ('blue', 90, False)),
    (lambda rgb: rgb.sum(axis=2) // 3 > 100, ('brightness', 100, True)),
    (lambda rgb: (2 * rgb[..., 1] - rgb[..., 0] - rgb[..., 2] + 510) // 4 > 140,
     ('excess green', 140, True))])
def test_finds_the_rule_that_made_the_labels(tmp_path, label, rule):
    rng = np.random.default_rng(0)
    images = [noise(rng, 96) for _ in range(3)]
    write(tmp_path, 'dry', [(image, label(image)) for image in images])
    found = fit_baselines(dataset(tmp_path, 'dry'))['colour threshold']
    assert (found.feature, found.threshold, found.above) == rule
    assert found.rule == f"high where {rule[0]} {'>' if rule[2] else '<='} {rule[1]}"


@pytest.mark.parametrize('foreground', [0, 1])
def test_no_other_threshold_is_better(tmp_path, foreground):
    rng = np.random.default_rng(1)
    images = [noise(rng) for _ in range(2)]
    labels = [np.where(rng.random((24, 24)) < 0.3, 1, image[..., 1] > 180) for image in images]
    labels[0][:5] = 255
    write(tmp_path, 'dry', zip(images, labels, strict=True))
    found = fit_baselines(dataset(tmp_path, 'dry'), foreground)['colour threshold']

    def iou(rule):
        bgr = [image[..., ::-1].astype(np.uint8) for image in images]
        hit = np.stack([rule.predict(image) for image in bgr])[counted] == foreground
        return (hit & truth).sum() / (hit | truth).sum()

    counted = np.stack(labels) < 2
    truth = np.stack(labels)[counted] == foreground
    best = max(iou(ColourThreshold(feature, threshold, above, foreground, ''))
               for feature in FEATURES for threshold in range(255) for above in (True, False))
    assert iou(found) == best


def test_the_threshold_divides_the_levels(tmp_path):
    write(tmp_path, 'dry', [(np.full((2, 2, 3), 255), np.ones((2, 2)))])
    found = fit_baselines(dataset(tmp_path, 'dry'))['colour threshold']
    assert found.rule == 'high where saturation <= 0'  # not: where red <= 255, which is no rule


def test_majority_class_of_the_source(tmp_path):
    labels = [[[0, 1, 1], [2, 1, 255]], [[255, 255, 255], [255, 255, 0]]]
    write(tmp_path, 'dry', [(np.zeros((2, 3, 3)), label) for label in labels])
    found = fit_baselines(dataset(tmp_path, 'dry', classes=('water', 'forest', 'field')))
    assert found == {'all forest': MajorityClass(1, 'forest')}
    assert found['all forest'].rule == 'forest everywhere'


def test_reads_few_images_and_every_kind_of_them(tmp_path, monkeypatch):
    # the last images differ from the first: reading the first ones only would not see class 1
    write(tmp_path, 'dry', [(np.full((2, 2, 3), index), np.full((2, 2), index > 5))
                            for index in range(10)])
    monkeypatch.setattr(module, 'MAX_IMAGES', 4)
    source, read = dataset(tmp_path, 'dry'), []
    take = source.get_data_info
    source.get_data_info = lambda index: read.append(index) or take(index)
    fit_baselines(source)
    assert read == [0, 3, 6, 9]


def test_large_images_are_thinned_out(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    image = noise(rng, 64)
    write(tmp_path, 'dry', [(image, image[..., 0] > 128)])
    monkeypatch.setattr(module, 'MAX_PIXELS', 100)
    counted = []
    monkeypatch.setattr(module, '_best_threshold', lambda counts, *_: counted.append(counts))
    fit_baselines(dataset(tmp_path, 'dry'))
    assert counted[0].sum(axis=(1, 2)).tolist() == [100] * len(FEATURES)


def test_features_are_levels(tmp_path):
    corners = np.array(np.meshgrid([0, 255], [0, 255], [0, 255])).reshape(3, -1).astype(np.int16)
    for name, feature in FEATURES.items():
        levels = feature(*corners)
        assert (levels.min(), levels.max()) == (0, 255), name
    r, g, b = np.random.default_rng(0).integers(0, 256, (3, 50), dtype=np.int16)
    hsv = [colorsys.rgb_to_hsv(*rgb)[1] for rgb in zip(r / 255, g / 255, b / 255, strict=True)]
    assert FEATURES['saturation'](r, g, b) == pytest.approx(255 * np.array(hsv), abs=1)


def test_source_without_foreground(tmp_path):
    write(tmp_path, 'dry', [(np.zeros((2, 2, 3)), np.zeros((2, 2)))])
    with pytest.raises(DataError, match="no labelled pixel of 'high'"):
        fit_baselines(dataset(tmp_path, 'dry'))


class Foreign(BaseDataset):
    """A data set of somebody else."""

    METAINFO = {'classes': ('low', 'high')}

    def load_data_list(self):
        return [{'img_path': 'x'}]


def test_foreign_data_set(tmp_path):
    Image.new('RGB', (2, 2)).save(tmp_path / 'x.png')
    source = Foreign(lazy_init=True)
    source.load_data_list = lambda: [{'img_path': str(tmp_path / 'x.png')}]
    source.full_init()
    with pytest.raises(ConfigError, match=r"those of Foreign have no 'seg_map_path'"):
        fit_baselines(source)


# testing on the targets

def test_counts_are_exact_per_domain(tmp_path):
    for domain in ('wet', 'cold'):
        write_domain(tmp_path, domain, 'train', 3)
    targets = dataset(tmp_path, 'wet', 'cold')
    like = DomainReport(('low', 'high'), ('dry',), {
        name: DomainResult(np.eye(2, dtype=np.int64), 3) for name in ('wet', 'cold')}, 1)
    rules = {'all low': MajorityClass(0, 'low'),
             'colour threshold': ColourThreshold('green', 99, True, 1, 'high')}
    found = test_baselines(rules, targets, like)
    for domain in ('wet', 'cold'):
        folder = tmp_path / 'train' / domain
        images, labels = ([np.asarray(Image.open(path)) for path in sorted(
            (folder / kind).glob('*.png'))] for kind in ('images', 'labels'))
        truth = np.stack(labels).ravel()
        above = (np.stack(images)[..., 1] > 99).ravel()
        expected = confusion_matrix(truth[truth < 2], above[truth < 2])
        assert found['colour threshold'].domains[domain].matrix.tolist() == expected.tolist()
        matrix = found['all low'].domains[domain].matrix
        assert matrix[:, 0].tolist() == np.bincount(truth[truth < 2]).tolist()
        assert matrix[:, 1].tolist() == [0, 0]
    assert found['all low'].summary('wet')['IoU'] == 0


def test_table_shows_them_beside_the_model():
    def report(right):
        matrix = np.array([[right, 100 - right], [100 - right, right]])
        return DomainReport(('low', 'high'), ('dry',), {
            'wet': DomainResult(matrix, 1), 'dry': DomainResult(matrix, 1)}, 1)

    console = Console(width=120, file=io.StringIO(), record=True)
    print_baselines(report(90), {'all low': report(50)}, {'all low': 'low everywhere'}, console)
    text = console.export_text()
    rows = [[cell.strip() for cell in line.split('│')[1:-1]]
            for line in text.splitlines() if line.startswith('│')]
    model, low = f'{9000 / 110:.2f}', f'{5000 / 150:.2f}'
    assert [row[0] for row in rows] == ['dry (source)', 'wet', 'mean over unseen']
    assert all(row[1:] == [model, low, model, low] for row in rows)  # IoU, then mIoU
    assert 'all low: low everywhere' in text


# the hook

def with_baselines(path, **options):
    cfg = load_config(path, options)
    hook = next(hook for hook in cfg.custom_hooks if hook.type == 'DomainReportHook')
    hook.baselines = True
    cfg.test_evaluator.foreground = 1
    return cfg


def test_report_names_its_run_and_its_baselines(tiny_config, tmp_path, capsys):
    cfg = load_config(tiny_config, {'work_dir': str(tmp_path / 'run'), 'randomness.seed': 11})
    build_runner(cfg).train()
    checkpoint = tmp_path / 'run' / 'iter_2.pth'
    # the test's own seed and work folder say nothing about the training
    cfg = with_baselines(tiny_config, work_dir=str(tmp_path / 'test'))
    capsys.readouterr()
    build_runner(cfg, checkpoint=checkpoint).test()
    path = tmp_path / 'test' / 'report.json'
    data = json.loads(path.read_text())
    told = compat.load_checkpoint(checkpoint)['meta']['run']
    assert data['run'] == {
        'config': 'tiny', 'method': 'CrossEarth', 'seed': 11, 'checkpoint': 'iter_2.pth',
        # not that of the test's config, which has baselines
        'config_sha256': told['config_sha256'],
        'checkpoint_sha256': hashlib.sha256(checkpoint.read_bytes()).hexdigest()}
    assert list(data['baselines'])[1:] == ['colour threshold']
    # the generated labels are red > 128, in every domain
    threshold = data['baselines']['colour threshold']
    assert threshold['rule'] == 'high where red > 128'
    assert {name: row['IoU'] for name, row in threshold['domains'].items()} == {
        'dry': 100, 'wet': 100}
    assert read_report(path).domains['wet'].num_samples == 2
    assert 'Against baselines that know nothing' in capsys.readouterr().out
    (run,), _ = find_runs([tmp_path])
    assert run.baselines['colour threshold'].summary('wet')['IoU'] == 100
    assert run.config_sha256 == data['run']['config_sha256']


@pytest.mark.parametrize(('loader', 'error', 'match'), [
    (None, ConfigError, r'no train_dataloader\.dataset\. Add it'),
    ({'dataset': {'type': 'DomainSegDataset', 'data_root': 'gone', 'domains': 'dry',
                  'metainfo': {'classes': ('low', 'high')}}}, DataError, 'does not exist')])
def test_missing_source_is_said_before_the_test(loader, error, match):
    runner = SimpleNamespace(
        cfg=Config({'train_dataloader': loader}),
        test_loop=SimpleNamespace(evaluator=SimpleNamespace(metrics=[])))
    DomainReportHook().before_test_epoch(runner)  # nobody asked for baselines
    with pytest.raises(error, match=match):
        DomainReportHook(baselines=True).before_test_epoch(runner)


def test_a_runner_without_facts_saves_none():
    checkpoint = {'meta': {}}
    DomainReportHook().before_save_checkpoint(SimpleNamespace(model=object()), checkpoint)
    assert checkpoint == {'meta': {}}
