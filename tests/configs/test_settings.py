# SPDX-License-Identifier: Apache-2.0
"""Every setting of the benchmark has its configs, and they say what the benchmark's table says."""

from itertools import groupby
from pathlib import Path

import pytest

from crossearth.benchmark import DATA_SETS, METHODS, SETTINGS, settings_of
from crossearth.engine.complete import complete_config, dataset_classes
from crossearth.engine.config import load_config
from crossearth.engine.run_facts import method_name

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
BATCH_NORM = ('deeplab', 'daformer', 'hrda')  # one image is no batch to normalise
FILES = [(method, path.stem) for method in METHODS for path in sorted((CONFIGS / method).glob('*'))
         if path.suffix == '.py']


def config(method, name):
    return complete_config(load_config(CONFIGS / method / f'{name}.py'))


def check_place(dataset, place):
    """A data set of a config reads the data set, domain and split of a setting, from its folder."""
    assert dataset.split == place.split
    assert place.domain in dataset.domains
    wanted = DATA_SETS[place.data_set]
    members = [member for member in dataset.get('datasets', [dataset])
               if member.type == wanted.class_name]
    assert len(members) == 1
    folder = 'potsdam' if place.data_set == 'potsdam5' else place.data_set
    assert members[0].data_root == f'data/{folder}'


@pytest.mark.parametrize(('method', 'name'), FILES, ids=map('/'.join, FILES))
def test_config_says_what_the_table_says(method, name, monkeypatch):
    monkeypatch.delenv('CROSSEARTH_DATA', raising=False)
    settings = settings_of(name)
    assert settings, f'{name} is no setting of the benchmark'
    cfg = config(method, name)
    assert cfg.train_dataloader.dataset.domains == [settings[0].source.domain]
    assert cfg.test_evaluator.source == [settings[0].source.domain]
    assert cfg.train_dataloader.batch_size == (2 if method in BATCH_NORM else 1)
    targets = [setting.target.domain for setting in settings]
    assert sorted(cfg.test_dataloader.dataset.domains) == sorted(targets)
    assert cfg.test_evaluator.domains == cfg.test_dataloader.dataset.domains
    for setting in settings:
        check_place(cfg.train_dataloader.dataset, setting.source)
        check_place(cfg.test_dataloader.dataset, setting.target)
        assert dataset_classes(cfg) == DATA_SETS[setting.target.data_set].classes
        assert cfg.model.decode_head.num_classes == setting.num_classes
        assert cfg.test_evaluator.get('foreground') == (1 if setting.num_classes == 2 else None)
        assert tuple(cfg.crop_size) == (setting.crop, setting.crop)
        assert tuple(cfg.model.test_cfg.crop_size) == (setting.crop, setting.crop)
        assert method_name(cfg.model).startswith(METHODS[method])
        if method != 'crossearth':
            continue
        style, mask = cfg.model.style, cfg.model.mask
        assert (style.mask_ratio, style.block) == (setting.style_ratio, setting.style_block)
        assert (mask.mask_ratio, mask.block) == (setting.mim_ratio, setting.mim_block)
        assert cfg.model.mim_head.loss == setting.mim_loss
        assert cfg.model.backbone.arch == 'l'


@pytest.mark.parametrize('method', METHODS)
def test_every_setting_has_its_config_and_every_source_its_2all(method):
    names = {name for folder, name in FILES if folder == method}
    reported = [setting for setting in SETTINGS if method in setting.paper]
    by_source = groupby(sorted(reported, key=lambda s: str(s.source)), key=lambda s: s.source)
    several = {group[0].config.split('2')[0] for _, members in by_source
               if len(group := list(members)) > 1}
    assert names == {s.config for s in reported} | {f'{source}2all' for source in several}
    assert len(names) == (22 if method == 'deeplab' else 36)


@pytest.mark.parametrize(('method', 'name'), FILES, ids=map('/'.join, FILES))
def test_config_is_short(method, name):
    assert len((CONFIGS / method / f'{name}.py').read_text().splitlines()) <= 10


@pytest.mark.parametrize(('crop', 'lr', 'points'), [
    (512, 1e-4, [(0, 40000)]), (1024, 6e-5, [(0, 10000), (10000, 40000)])])
def test_settings_follow_the_published_schedule_of_their_crop(crop, lr, points):
    for setting in SETTINGS:
        if setting.crop == crop:
            cfg = load_config(CONFIGS / 'rein' / f'{setting.config}.py')
            assert cfg.optim_wrapper.optimizer.lr == lr
            assert [(s.begin, s.end) for s in cfg.param_scheduler] == points
            assert cfg.train_cfg.max_iters == 30000


@pytest.mark.parametrize('crop', [512, 1024])
def test_published_augmentation(crop):
    base = load_config(CONFIGS / f'_base_/datasets/crop_{crop}.py')
    resize, cut = base.train_pipeline[2:4]
    assert list(resize.scales) == [int(crop * 0.1 * step) for step in range(5, 21)]
    assert resize.max_size == 4 * crop
    assert cut == {'type': 'RandomCrop', 'crop_size': (crop, crop), 'cat_max_ratio': 0.75}
    assert base.train_dataloader.dataset.pipeline == base.train_pipeline
