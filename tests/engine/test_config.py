# SPDX-License-Identifier: Apache-2.0
import copy
import gc
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from mmengine.config import Config

from crossearth.engine.config import load_config
from crossearth.engine.config_check import RUNNER_KEYS, check_classes
from crossearth.errors import ConfigError

DATASET = "dict(type='BaseSegDataset', metainfo=dict(classes=('sea', 'land')), pipeline=[" \
          "dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=0.5)])"
BASE = f'''
default_scope = 'crossearth'
crop_size = (64, 64)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor', size=crop_size),
    backbone=dict(type='ResNetV1c', depth=18, norm_cfg=dict(type='BN', requires_grad=True)),
    decode_head=dict(type='FCNHead', in_channels=32, channels=8, num_classes=2),
    test_cfg=dict(mode='whole'))
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset={DATASET})
train_cfg = dict(type='IterBasedTrainLoop', max_iters=4)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3), clip_grad=dict(type='norm'),
    paramwise_cfg=dict(custom_keys=dict(norm=dict(decay_mult=0.0))))
param_scheduler = [dict(type='PolyLR', power=0.9, by_epoch=False)]
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=2, priority='LOW'))
log_processor = dict(by_epoch=False)
env_cfg = dict(cudnn_benchmark=False)
randomness = dict(seed=0)
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'base.py').write_text(BASE)
    return tmp_path


def child(folder, text):
    path = folder / 'child.py'
    path.write_text(f"_base_ = ['base.py']\n{text}\n")
    return path


def test_sound_config_loads_as_mmengine_reads_it(folder):
    path = folder / 'base.py'
    assert load_config(path).to_dict() == Config.fromfile(path).to_dict()


@pytest.fixture
def eager_threads():
    """Threads take turns wherever Python lets them, also in the midst of building a syntax tree."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()

    def linger(phase, info):
        sum(range(100))

    gc.callbacks.append(linger)
    sys.setswitchinterval(1e-6)
    gc.set_threshold(50)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)
    gc.callbacks.remove(linger)


def test_threads_can_read_configs_at_once(folder, eager_threads):
    path = folder / 'base.py'
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(load_config, [path] * 12))
    assert all(config.to_dict() == read[0].to_dict() for config in read)


def test_own_keys_and_classes_are_free(folder):
    cfg = load_config(child(folder, 'custom_note = 1\nnum_classes = 2'))
    assert cfg.custom_note == 1


# ----------------------------------------------------------------------------------------- files

@pytest.mark.parametrize(('name', 'message'), [
    ('bse.py', r"There is no config .*bse\.py\. Did you mean 'base\.py'\?"),
    ('nowhere/base.py', r'The folder .*nowhere does not exist either'),
    ('base.txt', r'There is no config'),
])
def test_missing_file(folder, name, message):
    with pytest.raises(ConfigError, match=message):
        load_config(folder / name)


def test_missing_base_names_the_child(folder):
    path = folder / 'child.py'
    path.write_text("_base_ = 'bases.py'")
    with pytest.raises(ConfigError, match=r"which .*child\.py inherits from\. Did you mean 'base"):
        load_config(path)


def test_other_suffix(folder):
    (folder / 'base.txt').write_text(BASE)
    with pytest.raises(ConfigError, match=r'must end in \.py'):
        load_config(folder / 'base.txt')


def test_syntax_error_in_a_base_has_file_and_line(folder):
    (folder / 'base.py').write_text('a = 1\nmodel = dict(type=\n')
    with pytest.raises(ConfigError, match=r"base\.py, line 2: '\(' was never closed") as caught:
        load_config(child(folder, ''))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(('text', 'message'), [
    ('x = 1\ny = undefined', r"child\.py, line 3: NameError: name 'undefined'"),
    ('custom_x = {{_base_.modle}}', r"child\.py: KeyError: 'modle'"),
])
def test_error_while_executing(folder, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(child(folder, text))


# ----------------------------------------------------------------------------- types and keywords

@pytest.mark.parametrize(('text', 'message'), [
    ('trian_cfg = dict()', r"'trian_cfg' is not a top-level key.*'train_cfg'\?.*custom_"),
    ("target = ['wet']", r"'target' is not a top-level key.*'targets'\?"),
    ("data_rot = 'x'", r"'data_rot' is not a top-level key.*'data_root'\?"),
    ("model = dict(decode_head=dict(type='FCNHaed'))",
     r"model\.decode_head\.type: there is no model called 'FCNHaed'\. Did you mean 'FCNHead'"),
    ("model = dict(backbone=dict(init_cfg=dict(type='Pretraind', checkpoint='x')))",
     r"model\.backbone\.init_cfg\.type: .*'Pretrained'"),
    ("train_dataloader = dict(sampler=dict(type='InfinitSampler'))",
     r"train_dataloader\.sampler\.type: .*'InfiniteSampler'"),
    ("train_dataloader = dict(dataset=dict(pipeline=[dict(type='RandomFlop')]))",
     r"train_dataloader\.dataset\.pipeline\.0\.type: .*'RandomFlip'"),
    ("optim_wrapper = dict(optimizer=dict(type='AdmW'))",
     r"optim_wrapper\.optimizer\.type: .*'AdamW'"),
    ("optim_wrapper = dict(constructor='DefaultOptimWraperConstructor')",
     r"optim_wrapper\.constructor: .*'DefaultOptimWrapperConstructor'"),
    ("param_scheduler = [dict(type='PolyLr')]", r"param_scheduler\.0\.type: .*'PolyLR'"),
    ("default_hooks = dict(checkpoint=dict(type='ChekpointHook'))",
     r"default_hooks\.checkpoint\.type: .*'CheckpointHook'"),
    ('model = dict(decode_head=dict(num_clases=4))',
     r"model\.decode_head\.num_clases: 'FCNHead' takes no argument .* 'num_classes'\?"),
    ('train_dataloader = dict(num_worker=2)', r"train_dataloader\.num_worker: .*'num_workers'\?"),
    ('train_dataloader = dict(dataset=dict(data_rot=2))',
     r"train_dataloader\.dataset\.data_rot: .*'data_root'\?"),
    ('randomness = dict(sed=2)', r"randomness\.sed: .*'seed'\?"),
    ('env_cfg = dict(mp_cfg=dict(mp_start=2))', r"env_cfg\.mp_cfg\.mp_start: "),
])
def test_typo_in_a_file(folder, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(child(folder, text))
    assert str(caught.value).startswith(str(folder / 'child.py'))


def test_arguments_of_a_class_that_passes_them_on_are_not_judged(folder):
    load_config(child(folder, "visualizer = dict(type='Visualizer', name='v')\n"
                              "model = dict(backbone=dict(with_cp=True))"))  # ResNetV1c(**kwargs)


# --------------------------------------------------------------------------------------- options

@pytest.mark.parametrize(('option', 'message'), [
    ('modle.x', r"'modle' is not a top-level key.*'model'\?"),
    ('model.decode_hed.x', r"'EncoderDecoder' takes no argument 'decode_hed'.*'decode_head'\?"),
    ('model.test_cfg.mod', r"--cfg-options model\.test_cfg\.mod: .* no key 'mod'.*'mode'\?"),
    ('train_cfg.max_iter', r"'IterBasedTrainLoop' takes no argument 'max_iter'.*'max_iters'\?"),
    ('train_cfg.max_iters.x', r'--cfg-options do not fit'),
    ('param_scheduler.3.power', r"param_scheduler has no entry '3', it is a list of 1"),
    ('param_scheduler.power', r"param_scheduler has no entry 'power'"),
    ('default_hooks.chekpoint.interval', r"default_hooks has no key 'chekpoint'.*'checkpoint'\?"),
])
def test_typo_in_an_option(folder, option, message):
    with pytest.raises(ConfigError, match=message):
        load_config(folder / 'base.py', {option: 1})


@pytest.mark.parametrize('option', [
    'train_cfg.max_iters', 'train_cfg.val_interval', 'param_scheduler.0.power', 'randomness.seed',
    'model.backbone.with_cp', 'model.test_cfg.stride', 'env_cfg.mp_cfg.opencv_num_threads',
    'optim_wrapper.paramwise_cfg.custom_keys.norms.lr_mult', 'custom_switch', 'work_dir',
])
def test_option_replaces_or_adds(folder, option):
    node = load_config(folder / 'base.py', {option: 1})
    for part in option.split('.'):
        node = node[int(part) if part.isdigit() else part]
    assert node == 1


# ------------------------------------------------------------------------- schedule and data root

def test_schedule_replaces_the_config_and_options_replace_both(folder):
    (folder / 'schedule.py').write_text(
        "optim_wrapper = dict(optimizer=dict(lr=0.5))\n"
        "param_scheduler = [dict(type='LinearLR', end=3), dict(type='PolyLR', power=1.0)]\n"
        'train_cfg = dict(max_iters=9)\n')
    cfg = load_config(folder / 'base.py', {'train_cfg.max_iters': 7},
                      overlay=folder / 'schedule.py')
    assert cfg.optim_wrapper.optimizer == {'type': 'AdamW', 'lr': 0.5}
    assert cfg.param_scheduler == [
        {'type': 'LinearLR', 'end': 3}, {'type': 'PolyLR', 'power': 1.0}]
    assert cfg.train_cfg == {'type': 'IterBasedTrainLoop', 'max_iters': 7}


def test_missing_schedule(folder):
    with pytest.raises(ConfigError, match=r"no config .*bas\.py\. Did you mean 'base\.py'"):
        load_config(folder / 'base.py', overlay=folder / 'bas.py')


ROOTS = """
datasets = [dict(type='Potsdam', data_root='data/potsdam'),
            dict(type='Vaihingen', data_root='data/vaihingen/')]
train_dataloader = dict(dataset=dict(type='DomainConcat', datasets=datasets))
"""


def test_data_root_holds_the_folder_of_each_data_set(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(ROOTS)
    (tmp_path / 'here' / 'potsdam').mkdir(parents=True)
    cfg = load_config(path, data_root=tmp_path / 'here')
    for members in (cfg.train_dataloader.dataset.datasets, cfg.datasets):
        assert [member.data_root for member in members] == [
            f'{tmp_path}/here/potsdam', f'{tmp_path}/here/vaihingen']


@pytest.mark.parametrize('subfolder', ['', '/loveda'])
def test_data_root_of_a_single_data_set(tmp_path, subfolder):
    path = tmp_path / 'config.py'
    path.write_text("data_root = 'data/loveda'\ntrain_dataloader = dict(dataset=dict("
                    "type='LoveDA', data_root=data_root))")
    (tmp_path / f'here{subfolder}').mkdir(parents=True)
    cfg = load_config(path, {'custom_note': 1}, data_root=tmp_path / 'here')
    assert cfg.data_root == cfg.train_dataloader.dataset.data_root == (
        f'{tmp_path}/here{subfolder}')


def test_data_root_of_a_config_that_names_none(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text("train_dataloader = dict(dataset=dict(type='LoveDA'))")
    assert load_config(path, data_root=tmp_path).data_root == str(tmp_path)
    assert load_config(path, {'data_root': 'x'}, data_root=tmp_path).data_root == 'x'


@pytest.mark.parametrize(('text', 'folder', 'message'), [
    (ROOTS, 'missing', r'--data-root: there is no folder .*missing'),
    (ROOTS, '.', r'reads 2 data sets, and there is none of the folders .*potsdam, .*vaihingen'),
    (ROOTS.replace('data/vaihingen/', 'other/potsdam'), 'holds',
     r'data/potsdam, other/potsdam are different data sets with folders of one name'),
])
def test_data_root_without_the_data(tmp_path, text, folder, message):
    (tmp_path / 'holds' / 'potsdam').mkdir(parents=True)
    path = tmp_path / 'config.py'
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(path, data_root=tmp_path / folder)


def test_data_root_by_the_environment(tmp_path, monkeypatch, capsys):
    path = tmp_path / 'config.py'
    path.write_text("data_root = '{{$CROSSEARTH_DATA:data}}/loveda'")
    monkeypatch.delenv('CROSSEARTH_DATA', raising=False)
    assert load_config(path).data_root == 'data/loveda'
    monkeypatch.setenv('CROSSEARTH_DATA', '/else where')
    cfg = load_config(path)
    assert cfg.data_root == '/else where/loveda'
    assert "data_root = '/else where/loveda'" in cfg.pretty_text
    assert capsys.readouterr().out == ''  # what print_config prints is a config again


# --------------------------------------------------------------------------------------- classes

def test_classes_of_head_and_data_must_agree(folder):
    with pytest.raises(ConfigError, match=r'model\.decode_head\.num_classes is 7, but '
                                          r'train_dataloader\.dataset has 2 classes \(sea, land\)'):
        load_config(folder / 'base.py', {'model.decode_head.num_classes': 7})


@pytest.mark.parametrize('wrap', [
    lambda data: {'type': 'ConcatDataset', 'datasets': [data, data]},
    lambda data: {'type': 'RepeatDataset', 'dataset': data, 'times': 2},
], ids=['ConcatDataset', 'RepeatDataset'])
def test_classes_of_wrapped_data_are_compared(folder, wrap):
    cfg = load_config(folder / 'base.py')
    cfg.model.decode_head.num_classes = 3
    cfg.train_dataloader.dataset = wrap(copy.deepcopy(cfg.train_dataloader.dataset))
    with pytest.raises(ConfigError, match=r'is 3, but train_dataloader\.dataset\.0 has 2 classes'):
        check_classes(cfg)


@pytest.mark.parametrize('dataset', [
    {'type': 'PotsdamDataset'}, {'type': 'DomainConcat', 'datasets': [{'type': 'Vaihingen'}]}])
def test_classes_of_a_registered_data_set_count(folder, dataset):
    cfg = load_config(folder / 'base.py')
    cfg.train_dataloader.dataset = dataset
    with pytest.raises(ConfigError, match=r'is 2, but .* has 6 classes \(impervious_surface'):
        check_classes(cfg)


def test_runner_keys_are_those_that_mmengine_reads():
    import inspect
    import re

    from mmengine.runner import Runner

    read = set(re.findall(r"cfg(?:\.get\(|\[)'(\w+)'", inspect.getsource(Runner.from_cfg)))
    read |= set(re.findall(r"self\.cfg\.get\(\s*'(\w+)'", inspect.getsource(Runner)))
    assert read == RUNNER_KEYS - {'custom_imports'}  # this one is for Config itself
