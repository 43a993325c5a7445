# SPDX-License-Identifier: Apache-2.0
"""Pictures of the training: when, of what, and that they change nothing."""

import numpy as np
import pytest
import torch
from PIL import Image

from crossearth.engine.config import load_config
from crossearth.engine.hooks.pictures import GAP, TITLE, mosaic
from crossearth.engine.runner import build_runner


def train(config, folder, interval, **options):
    cfg = load_config(config, {'train_cfg.max_iters': 3, **options})
    cfg.work_dir = str(folder)
    cfg.custom_hooks = [{'type': 'TrainingPictureHook', 'interval': interval}]
    runner = build_runner(cfg)
    runner.train()
    return runner.model


def test_pictures_are_written_when_due_and_change_nothing(tiny_config, tmp_path):
    with_pictures = train(tiny_config, tmp_path / 'a', 2)
    without = train(tiny_config, tmp_path / 'b', 100)
    assert [p.name for p in (tmp_path / 'a' / 'pictures').iterdir()] == ['iter_000002.png']
    assert not (tmp_path / 'b' / 'pictures').exists()
    for a, b in zip(with_pictures.parameters(), without.parameters(), strict=True):
        assert torch.equal(a, b)
    picture = np.array(Image.open(tmp_path / 'a' / 'pictures' / 'iter_000002.png'))
    assert picture.shape == (32 + TITLE, 6 * (32 + GAP) - GAP, 3)
    panels = [picture[TITLE:, i * (32 + GAP):][:, :32] for i in range(6)]
    image, _, masked, *_, label = panels
    tiles = [np.array(Image.open(p)) for p in (tmp_path / 'tiles/train/dry/images').iterdir()]
    assert any((image == t).all() or (image == t[:, ::-1]).all() for t in tiles)
    assert 0 < (image == masked).all(-1).mean() < 0.8  # some blocks are kept
    assert (label[:2] == 0).all()  # ignored rows
    assert len(np.unique(label[2:].reshape(-1, 3), axis=0)) == 2


@pytest.mark.parametrize('off', [{'model.style': None, 'model.mim_head': None}])
def test_plain_segmentor(tiny_config, tmp_path, off):
    train(tiny_config, tmp_path, 3, **off)
    picture = Image.open(tmp_path / 'pictures' / 'iter_000003.png')
    assert picture.width == 3 * (32 + GAP) - GAP


def test_panels_of_other_sizes_are_fitted():
    panel = np.full((8, 8, 3), 200, np.uint8)
    picture = np.array(mosaic({'a': np.zeros((16, 24, 3), np.uint8), 'b': panel}))
    assert picture.shape == (16 + TITLE, 48 + GAP, 3)
    assert (picture[TITLE:, 24 + GAP:] == 200).all()
