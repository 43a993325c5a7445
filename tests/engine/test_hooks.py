# SPDX-License-Identifier: Apache-2.0
"""Progress on a terminal and in a pipe, and the backbone that a checkpoint names."""

import io
import logging
from types import SimpleNamespace

import pytest
from mmengine.logging import MMLogger
from rich.console import Console

from crossearth.engine.hooks import BackboneProvenanceHook, ProgressHook, check_backbone
from crossearth.errors import CheckpointError


def drive(console):
    """Run the hook through a training of three iterations and a test of two; give the output."""
    hook = ProgressHook(console)
    logger = logging.getLogger('test_hooks')
    runner = SimpleNamespace(
        max_iters=3, iter=0, logger=logger, test_dataloader=[None, None])
    hook.before_train(runner)
    for index in range(3):
        hook.after_train_iter(runner, index, None, {'loss': 2.5})
    hook.after_train(runner)
    hook.before_test_epoch(runner)
    for index in range(2):
        hook.after_test_iter(runner, index)
    hook.after_test_epoch(runner)
    return console.file.getvalue()


def test_bar_on_a_terminal():
    text = drive(Console(file=io.StringIO(), force_terminal=True, width=100))
    for piece in ('train', '3/3', 'loss 2.500', 'test', '2/2'):
        assert piece in text


def test_nothing_in_a_pipe():
    assert drive(Console(file=io.StringIO(), force_terminal=False)) == ''


def test_log_lines_go_above_the_bar():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    logger = MMLogger.get_instance('bar', log_level='INFO')
    hook = ProgressHook(console)
    hook.before_train(SimpleNamespace(max_iters=3, iter=0, logger=logger))
    logger.info('a plain line')
    hook.after_train(None)
    assert 'a plain line' in console.file.getvalue()


def test_bulk_goes_to_the_log_file_only(tmp_path, capsys):
    logger = MMLogger.get_instance('bulk', log_level='INFO', log_file=str(tmp_path / 'run.log'))
    logger.info('Config:\nmodel = 1')
    logger.info('short')
    assert 'model = 1' in (tmp_path / 'run.log').read_text()
    shown = capsys.readouterr()
    assert 'model = 1' not in shown.out + shown.err


def test_checkpoint_names_the_backbone():
    checkpoint = {'meta': {}}
    provenance = {'name': 'vit.pth', 'sha256': 'a' * 64}
    runner = SimpleNamespace(model=SimpleNamespace(backbone_provenance=provenance))
    BackboneProvenanceHook().before_save_checkpoint(runner, checkpoint)
    assert checkpoint['meta']['backbone'] == provenance
    BackboneProvenanceHook().after_load_checkpoint(runner, checkpoint)
    runner.model.backbone_provenance = {'name': 'other.pth', 'sha256': 'b' * 64}
    with pytest.raises(CheckpointError, match=r'trained on the backbone file vit\.pth'):
        BackboneProvenanceHook().after_load_checkpoint(runner, checkpoint)


def test_checkpoints_without_provenance_pass():
    check_backbone({'state_dict': {}}, {'name': 'x', 'sha256': 'c' * 64})
    check_backbone({'meta': {'backbone': {'name': 'x', 'sha256': 'c'}}}, None)
