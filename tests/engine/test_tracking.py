# SPDX-License-Identifier: Apache-2.0
"""What a run logs, and the trackers that it logs to, installed or not."""

import importlib.util
import json
import sys
import warnings
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from mmengine.logging import MessageHub

from crossearth.engine.config import load_config
from crossearth.engine.hooks import SpeedHook
from crossearth.engine.runner import build_runner
from crossearth.errors import MissingDependencyError


def backends(*names):
    return {'visualizer.vis_backends': [{'type': f'{name}VisBackend'} for name in names]}


def train(config, folder, **options):
    """Train three iterations, log each, and draw a picture of the last."""
    cfg = load_config(config, {
        'train_cfg.max_iters': 3, 'default_hooks.logger.interval': 1, 'custom_hooks.3.interval': 3,
        **options})
    cfg.work_dir = str(folder)
    runner = build_runner(cfg)
    runner.train()
    return runner


def test_every_line_holds_losses_style_rate_speed_and_memory(tiny_config, tmp_path):
    runner = train(tiny_config, tmp_path, **{
        'model.style.probability': 1, **backends('Local')})
    [file] = tmp_path.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line['step'] for line in lines] == [1, 2, 3]
    for line in lines:
        assert {'loss', 'decode.loss_cls', 'decode.d0.loss_dice', 'mim.loss_m', 'mim.loss_s',
                'mim.loss_delta', 'lr'} <= line.keys()
        assert line['styled'] == line['styled_share'] == 1
        assert line['throughput'] == pytest.approx(2 / line['time'])  # a batch of two
        assert 50 < line['memory'] < 1e5
    text = next(tmp_path.glob('*/*.log')).read_text()
    for name in ('throughput', 'memory', 'styled', 'lr', 'mim.loss_m'):
        assert text.count(f' {name}: ') >= 3, name
    assert list(runner.visualizer._vis_backends) == ['LocalVisBackend']


def test_throughput_is_of_all_processes_over_the_window(monkeypatch):
    monkeypatch.setattr('crossearth.engine.hooks.tracking.get_world_size', lambda: 8)
    hub = MessageHub.get_instance('throughput')
    runner = SimpleNamespace(message_hub=hub, log_processor=SimpleNamespace(window_size=2))
    for seconds in (100.0, 0.25, 0.75):
        hub.update_scalar('train/time', seconds)
        SpeedHook().after_train_iter(runner, 0, {'inputs': [None] * 4})
    assert hub.get_scalar('train/throughput').current() == 4 * 8 / 0.5


def test_tensorboard_shows_scalars_and_pictures(tiny_config, tmp_path):
    pytest.importorskip('tensorboard', reason='needs the extra track')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny_config, tmp_path)
    [file] = tmp_path.glob('*/vis_data/events.out.tfevents.*')
    events = EventAccumulator(str(file)).Reload()
    assert {'loss', 'mim.loss_m', 'styled', 'lr', 'throughput', 'memory'} <= set(
        events.Tags()['scalars'])
    assert [event.step for event in events.Scalars('throughput')] == [1, 2, 3]
    [picture] = events.Images('training.png')
    assert picture.step == 3
    assert picture.width > 6 * 32


def test_its_absence_is_silent(tiny_config, tmp_path, monkeypatch, capfd):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name: None if name == 'tensorboard' else find(name))
    for name in ('tensorboard', 'torch.utils.tensorboard'):
        monkeypatch.setitem(sys.modules, name, None)
    with warnings.catch_warnings(record=True) as caught:
        runner = train(tiny_config, tmp_path)
    assert list(runner.visualizer._vis_backends) == ['LocalVisBackend']
    said = ''.join(capfd.readouterr()) + ' '.join(str(warning.message) for warning in caught)
    assert 'tensorboard' not in said.lower()
    assert (tmp_path / 'pictures' / 'iter_000003.png').is_file()


@pytest.mark.parametrize(('name', 'package'), [('Wandb', 'wandb'), ('MLflow', 'mlflow')])
def test_a_missing_tracker_is_one_line(tiny_config, tmp_path, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=f'"pip install {package}"') as raised:
        train(tiny_config, tmp_path, **backends('Local', name))
    assert '\n' not in str(raised.value)


def test_wandb_by_one_line(tiny_config, tmp_path, monkeypatch):
    wandb = MagicMock()
    monkeypatch.setitem(sys.modules, 'wandb', wandb)
    train(tiny_config, tmp_path, **backends('Local', 'Wandb'))
    logged = [call.args[0] for call in wandb.log.call_args_list]
    assert sum('throughput' in entry for entry in logged) == 3
    assert sum('training.png' in entry for entry in logged) == 1
    shown = wandb.Image.call_args.args[0]
    assert shown.shape[2] == 3
