# SPDX-License-Identifier: Apache-2.0
"""A whole tiny run: training, its checkpoint, testing it, resuming, and every refusal on the
way."""

import json

import pytest
import torch

from crossearth.compat import load_checkpoint as read
from crossearth.engine.checkpoint_files import save_checkpoint
from crossearth.engine.config import load_config
from crossearth.engine.runner import (
    build_runner,
    evaluate_trained,
    load_checkpoint,
    load_pretrained,
)
from crossearth.errors import CheckpointError, ConfigError, DataError, WeightsNotFoundError


def train(config, tmp_path, **options):
    cfg = load_config(config, options)
    cfg.work_dir = str(tmp_path / 'run')
    runner = build_runner(cfg)
    runner.train()
    return runner, tmp_path / 'run' / f'iter_{cfg.train_cfg.max_iters}.pth'


def test_train_test_and_report(tiny_config, tmp_path):
    runner, checkpoint = train(tiny_config, tmp_path)
    cfg = load_config(tiny_config)
    cfg.work_dir = str(tmp_path / 'test')
    tested = build_runner(cfg, checkpoint=checkpoint)
    for name, parameter in tested.model.named_parameters():
        if name not in tested.model.frozen_names():
            assert torch.equal(parameter, dict(runner.model.named_parameters())[name]), name
    metrics = tested.test()
    assert {'dry/mIoU', 'wet/mIoU', 'unseen_mIoU', 'source_mIoU'} <= metrics.keys()
    report = json.loads((tmp_path / 'test' / 'report.json').read_text())
    assert list(report['domains']) == ['dry', 'wet']
    pixels = sum(map(sum, report['domains']['wet']['confusion']))
    assert pixels == 2 * 30 * 32  # two tiles less two ignored rows each
    assert (tmp_path / 'test' / 'report.csv').is_file()


def test_a_trained_model_is_tested_like_its_checkpoint(tiny_config, tmp_path):
    runner, checkpoint = train(tiny_config, tmp_path)
    evaluate_trained(runner)
    cfg = load_config(tiny_config)
    cfg.work_dir = str(tmp_path / 'test')
    build_runner(cfg, checkpoint=checkpoint).test()
    at_once, later = (json.loads((tmp_path / name / 'report.json').read_text())
                      for name in ('run', 'test'))
    assert at_once['run']['checkpoint'] == 'iter_2.pth'
    assert at_once == later


def test_stored_configs_say_where_the_data_lay(tiny_config, tmp_path, monkeypatch):
    root = f"'{tmp_path}/tiles'"
    text = tiny_config.read_text().replace(root, "'{{$CROSSEARTH_DATA:data}}/tiles'")
    tiny_config.write_text(text)
    monkeypatch.setenv('CROSSEARTH_DATA', str(tmp_path))
    _, checkpoint = train(tiny_config, tmp_path)
    monkeypatch.delenv('CROSSEARTH_DATA')
    assert root in read(checkpoint)['meta']['cfg']
    stored = load_config(tmp_path / 'run' / 'tiny.py')
    assert stored.test_dataloader.dataset.data_root == str(tmp_path / 'tiles')
    build_runner(stored, checkpoint=checkpoint).test()


def test_checkpoint_is_small_and_names_no_frozen_tensor(tiny_config, tmp_path):
    _, checkpoint = train(tiny_config, tmp_path)
    names = read(checkpoint)['state_dict']
    parts = {n.split('.')[1] for n in names if n.startswith('backbone.')}
    assert parts == {'reins', 'gse', 'injector'}
    assert any(n.startswith('decode_head.') for n in names)


def test_optimiser_holds_the_trained_parameters_only(tiny_config, tmp_path):
    runner, _ = train(tiny_config, tmp_path)
    groups = runner.optim_wrapper.optimizer.param_groups
    held = [p for group in groups for p in group['params']]
    assert all(p.requires_grad for p in held)
    assert {id(p) for p in held} == {id(p) for p in runner.model.parameters() if p.requires_grad}
    assert len(groups) == 2  # with and without weight decay
    plain = next(g for g in groups if g['weight_decay'] == 0)
    names = {id(p): n for n, p in runner.model.named_parameters()}
    kept = {names[id(p)] for p in plain['params']}
    assert {
        'prompt', 'backbone.reins.scale', 'backbone.reins.learnable_tokens_a',
        'backbone.injector.gamma',
        'decode_head.level_embed.weight', 'decode_head.transformer_decoder.post_norm.bias'} <= kept
    assert 'decode_head.cls_embed.weight' not in kept


def test_same_seed_same_weights_and_resume_goes_on(tiny_config, tmp_path):
    first, _ = train(tiny_config, tmp_path / 'a')
    second, _ = train(tiny_config, tmp_path / 'b')
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)
    resumed, _ = train(tiny_config, tmp_path / 'a', **{'resume': True, 'train_cfg.max_iters': 3})
    assert resumed.iter == 3
    assert not torch.equal(resumed.model.decode_head.cls_embed.weight,
                           first.model.decode_head.cls_embed.weight)


def test_amp(tiny_config, tmp_path):
    runner, _ = train(tiny_config, tmp_path, **{'optim_wrapper.type': 'AutocastOptimWrapper'})
    assert all(p.dtype == torch.float32 for p in runner.model.parameters())
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())


def test_missing_data_and_weights_are_named_together(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setenv('CROSSEARTH_WEIGHTS', str(tmp_path))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    cfg = load_config(tiny_config, {
        'train_dataloader.dataset.data_root': '/nowhere',
        'model.backbone.weights': 'dinov2_vitl14'})
    with pytest.raises(DataError, match=r'(?s)/nowhere.*dinov2_vitl14_pretrain\.pth'):
        build_runner(cfg)


def test_missing_test_data_stop_a_training_that_is_tested(tiny_config, tmp_path):
    cfg = load_config(tiny_config, {'test_dataloader.dataset.data_root': '/nowhere'})
    cfg.work_dir = str(tmp_path / 'run')
    with pytest.raises(DataError, match=r'(?s)/nowhere.*To train without it, give --no-test'):
        build_runner(cfg)
    assert build_runner(cfg, test=False).iter == 0


def test_data_missing_for_both_are_named_once(tiny_config):
    cfg = load_config(tiny_config, {
        f'{split}_dataloader.dataset.data_root': '/nowhere' for split in ('train', 'test')})
    with pytest.raises(DataError) as caught:
        build_runner(cfg)
    assert str(caught.value).count('/nowhere') == 1
    assert '--no-test' not in str(caught.value)  # it would not help


def test_statistics_of_a_wrapped_target_are_warned_of(tiny_config, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr('crossearth.engine.runner.warn_if_target',
                        lambda _, names: seen.append(names))
    cfg = load_config(tiny_config)
    dataset = cfg.test_dataloader.dataset
    cfg.test_dataloader.dataset = {
        'type': 'DomainConcat', 'datasets': [
            {key: dataset[key] for key in ('type', 'data_root', 'metainfo')} | {'domains': [name]}
            for name in ('dry', 'wet')],
        **{key: dataset[key] for key in ('split', 'pipeline', 'test_mode')}}
    cfg.work_dir = str(tmp_path / 'run')
    build_runner(cfg)
    assert seen == [{'wet'}]


def test_missing_weights(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setenv('CROSSEARTH_WEIGHTS', str(tmp_path))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    cfg = load_config(tiny_config, {'model.backbone.weights': 'dinov2_vitl14'})
    with pytest.raises(WeightsNotFoundError, match='dinov2_vitl14'):
        build_runner(cfg)


def test_wrong_number_of_classes(tiny_config):
    cfg = load_config(tiny_config, {})
    cfg.model.decode_head.num_classes = 5
    with pytest.raises(ConfigError, match=r'5.*2|2.*5'):
        build_runner(cfg)


def test_missing_checkpoint(tiny_config, tmp_path):
    with pytest.raises(CheckpointError, match='there is no checkpoint'):
        build_runner(load_config(tiny_config), checkpoint=tmp_path / 'iter_9.pth')


def test_checkpoint_of_another_model(tiny_config, tmp_path):
    runner, checkpoint = train(tiny_config, tmp_path)
    content = read(checkpoint)
    content['state_dict'].pop('decode_head.cls_embed.bias')
    content['state_dict']['decode_head.cls_embed.weight'] = torch.zeros(9, 16)
    save_checkpoint(content, checkpoint)
    with pytest.raises(CheckpointError, match=r'does not fit.*cls_embed.*2 differences in all'):
        load_checkpoint(runner.model, checkpoint)


def test_checkpoint_names_its_backbone_and_refuses_another(tiny_config, tmp_path):
    torch.manual_seed(1)
    runner, _ = train(tiny_config, tmp_path)
    backbones = []
    for seed in range(2):
        torch.manual_seed(seed)
        names = runner.model.backbone.pretrained_names()
        state = {n: torch.randn_like(p)
                 for n, p in runner.model.backbone.named_parameters() if n in names}
        backbones.append(tmp_path / f'backbone{seed}.pth')
        torch.save(state, backbones[-1])
    trained, checkpoint = train(
        tiny_config, tmp_path, **{'model.backbone.weights': str(backbones[0])})
    loaded = torch.load(backbones[0], weights_only=True)['cls_token']
    assert torch.equal(trained.model.backbone.cls_token, loaded)
    cfg = load_config(tiny_config, {'model.backbone.weights': str(backbones[0])})
    cfg.work_dir = str(tmp_path / 'test')
    assert torch.equal(build_runner(cfg, checkpoint=checkpoint).model.backbone.cls_token, loaded)
    cfg = load_config(tiny_config, {'model.backbone.weights': str(backbones[1])})
    cfg.work_dir = str(tmp_path / 'test')
    with pytest.raises(CheckpointError, match=r'trained on the backbone file backbone0\.pth'):
        build_runner(cfg, checkpoint=checkpoint)


def test_weights_must_be_named(tiny_config):
    cfg = load_config(tiny_config)
    cfg.work_dir = str(tiny_config.parent / 'run')
    runner = build_runner(cfg)
    runner.model.backbone.weights = None
    with pytest.raises(ConfigError, match="'random' on purpose"):
        load_pretrained(runner.model)


def test_heads_are_initialised_before_weights_are_loaded(tiny_config, tmp_path):
    options = {'model.backbone.adapter': None, 'model.decode_head': {
        '_delete_': True, 'type': 'FCNHead', 'in_channels': 32, 'channels': 8,
        'norm_cfg': {'type': 'BN'}}}
    cfg = load_config(tiny_config, options)
    cfg.work_dir = str(tmp_path / 'untrained')
    assert build_runner(cfg).model.decode_head.conv_seg.weight.std() < 0.03  # torch's own: 0.2
    _, checkpoint = train(tiny_config, tmp_path, **options)
    runner, _ = train(tiny_config, tmp_path, **options, load_from=str(checkpoint),
                      **{'optim_wrapper.optimizer.lr': 0.0})
    kernel = read(checkpoint)['state_dict']['decode_head.conv_seg.weight']
    assert torch.equal(runner.model.decode_head.conv_seg.weight, kernel)
