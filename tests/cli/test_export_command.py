# SPDX-License-Identifier: Apache-2.0
import json
import shutil

import numpy as np
import pytest
import torch

from crossearth.cli.main import main
from crossearth.engine.config import load_config
from crossearth.engine.runner import build_runner
from crossearth.inference.bundle import load_predictor
from crossearth.inference.card import read_card
from crossearth.weight_files import file_sha256


def export(work_dir, folder, *arguments: str) -> int:
    return main(['export', 'bundle', str(work_dir), '-o', str(folder), *arguments])


def train(config, work_dir, **options):
    """Train; the backbone is trained too, so that checkpoints hold it."""
    cfg = load_config(config, {'model.backbone.frozen': False, **options})
    cfg.work_dir = str(work_dir)
    runner = build_runner(cfg)
    runner.train()
    return runner


@pytest.fixture
def trained(tiny_config, tmp_path):
    """A finished training and test, and its runner."""
    runner = train(tiny_config, tmp_path / 'run')
    runner.test()
    return tmp_path / 'run', runner


def test_a_training_becomes_a_bundle_that_predicts_the_same(trained, tmp_path, capsys):
    work_dir, runner = trained
    folder = tmp_path / 'bundle'
    assert export(work_dir, folder, '--gsd', '0.5', '--licence', 'CC0-1.0') == 0
    assert f'-> {folder}' in capsys.readouterr().out
    card = read_card(folder)
    assert card.model['type'] == 'PEFTEncoderDecoder'
    assert card.model['backbone']['weights'] == 'random'
    assert not {'mim_head', 'style', 'data_preprocessor', 'train_cfg'} & card.model.keys()
    assert (card.classes, card.crop, card.bands) == (['low', 'high'], [32, 32], ['R', 'G', 'B'])
    assert (card.gsd_m, card.licence, card.training_domain) == (0.5, 'CC0-1.0', ['dry'])
    assert len(card.palette) == 2
    assert card.palette[0] != card.palette[1]
    report = json.loads((work_dir / 'report.json').read_text())
    assert card.metrics['wet']['mIoU'] == report['domains']['wet']['mIoU']
    assert card.metrics['mean over unseen']['mIoU'] == report['mean_over_unseen']['mIoU']
    checkpoint = work_dir / 'iter_2.pth'
    assert card.provenance['checkpoint'] == {
        'name': checkpoint.name, 'sha256': file_sha256(checkpoint)}

    images = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), np.uint8)
    model = runner.model.eval()
    # the preprocessor takes BGR, as the images of data sets are read
    data = model.data_preprocessor({'inputs': [
        torch.from_numpy(image[::-1].copy()) for image in images]})['inputs']
    with torch.no_grad():
        expected = model.encode_decode(data)
    np.testing.assert_allclose(
        load_predictor(folder, device='cpu')(images), expected.numpy(), atol=1e-5)


def test_a_moved_folder_other_checkpoints_and_bands(trained, tmp_path, capsys):
    work_dir, _ = trained
    moved = tmp_path / 'moved'
    shutil.move(work_dir, moved)
    (moved / 'last_checkpoint').write_text('/gone/iter_2.pth')
    shutil.copy(moved / 'iter_2.pth', moved / 'iter_1.pth')
    assert export(moved, tmp_path / 'a', '--bands', 'IR,R,G') == 0
    card = read_card(tmp_path / 'a')
    assert card.bands == ['IR', 'R', 'G']
    assert card.provenance['checkpoint']['name'] == 'iter_2.pth'
    (moved / 'last_checkpoint').unlink()
    shutil.copy(moved / 'iter_2.pth', moved / 'iter_10.pth')
    assert export(moved, tmp_path / 'b') == 0
    assert read_card(tmp_path / 'b').provenance['checkpoint']['name'] == 'iter_10.pth'
    assert export(moved, tmp_path / 'c', '--checkpoint', str(moved / 'iter_1.pth')) == 0
    card = read_card(tmp_path / 'c')
    assert card.provenance['checkpoint']['name'] == 'iter_1.pth'
    assert card.metrics == {}  # the report is that of the last one


def test_slide_testing_gives_the_overlap(tiny_config, tmp_path):
    train(tiny_config, tmp_path / 'run', **{'model.test_cfg.mode': 'slide'})
    assert export(tmp_path / 'run', tmp_path / 'bundle') == 0
    assert read_card(tmp_path / 'bundle').overlap == 32 - 21


def test_what_is_missing_is_named(tiny_config, tmp_path, capsys):
    assert export(tmp_path, tmp_path / 'bundle', '--checkpoint', 'none.pth') == 2
    assert 'no checkpoint none.pth' in capsys.readouterr().err
    empty = tmp_path / 'empty'
    empty.mkdir()
    assert export(empty, tmp_path / 'bundle') == 2
    assert 'it holds no config' in capsys.readouterr().err
    shutil.copy(tiny_config, empty)
    assert export(empty, tmp_path / 'bundle') == 2
    assert 'holds no checkpoint' in capsys.readouterr().err
    assert not (tmp_path / 'bundle').exists()


def test_a_model_that_cannot_be_restored_is_not_exported(tiny_config, tmp_path, capsys):
    train(tiny_config, tmp_path / 'run', **{'model.backbone.frozen': True})
    assert export(tmp_path / 'run', tmp_path / 'bundle') == 2
    assert 'frozen backbone of random values' in capsys.readouterr().err
