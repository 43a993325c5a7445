# SPDX-License-Identifier: Apache-2.0
"""Averages of the trained parameters: their values, and where a checkpoint holds them."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from toy_training import toy_runner

from crossearth.engine.config import load_config
from crossearth.engine.hooks import TrainedEMAHook
from crossearth.registry import HOOKS


def make(decay=0.5):
    model = nn.ModuleDict({'frozen': nn.Linear(1, 1), 'head': nn.Linear(1, 1, bias=False)})
    model['frozen'].requires_grad_(False)
    model['head'].weight.data.fill_(1.0)
    hook = TrainedEMAHook(decay)
    runner = SimpleNamespace(model=model, iter=0)
    hook.before_train(runner)
    return hook, runner


def test_formula_and_its_warm_up():
    hook, runner = make(decay=0.3)
    average = 1.0
    for iteration, weight in enumerate([2.0, -1.0, 5.0, 3.0]):
        runner.iter = iteration
        runner.model['head'].weight.data.fill_(weight)
        hook.after_train_iter(runner, iteration)
        decay = min(0.3, (1 + iteration) / (10 + iteration))
        average = decay * average + (1 - decay) * weight
    assert hook.averages['head.weight'].item() == pytest.approx(average, rel=1e-6)


def test_one_line_turns_it_on(tiny_config):
    cfg = load_config(tiny_config, {'default_hooks.ema.type': 'TrainedEMAHook'})
    assert isinstance(HOOKS.build(cfg.default_hooks.ema), TrainedEMAHook)


def test_the_frozen_part_is_not_copied():
    hook, _ = make()
    assert list(hook.averages) == ['head.weight']


def test_validation_and_test_see_the_averages():
    hook, runner = make()
    weight = runner.model['head'].weight
    weight.data.fill_(3.0)
    for before, after in ((hook.before_val_epoch, hook.after_val_epoch),
                          (hook.before_test_epoch, hook.after_test_epoch)):
        before(runner)
        assert weight.item() == 1.0
        after(runner)
        assert weight.item() == 3.0
        assert hook.averages['head.weight'].item() == 1.0


def test_a_checkpoint_holds_the_averages_where_a_test_looks(tmp_path):
    runner = toy_runner(tmp_path, 'run', 3, ema=True)
    runner.train()
    hook = next(hook for hook in runner.hooks if isinstance(hook, TrainedEMAHook))
    content = torch.load(tmp_path / 'run' / 'iter_3.pth', weights_only=True)
    weights = runner.model.state_dict()
    assert content['state_dict'].keys() == weights.keys()
    assert content['raw_state_dict'].keys() == hook.averages.keys()
    for name, average in hook.averages.items():
        assert torch.equal(content['state_dict'][name], average)
        assert torch.equal(content['raw_state_dict'][name], weights[name])
    assert not torch.equal(content['state_dict']['out.weight'], weights['out.weight'])


@pytest.mark.parametrize('ema', [False, True])
def test_turned_on_or_off_between_runs(tmp_path, ema):
    toy_runner(tmp_path, 'run', 3, ema=not ema).train()
    content = torch.load(tmp_path / 'run' / 'iter_3.pth', weights_only=True)
    trained = {**content['state_dict'], **content.get('raw_state_dict', {})}
    resumed = toy_runner(tmp_path, 'run', 3, ema=ema, resume=True)
    resumed.train()  # no iteration is left
    for name, weight in resumed.model.state_dict().items():
        assert torch.equal(weight, trained[name])
