# SPDX-License-Identifier: Apache-2.0
"""What the README shows works as it stands there."""

import re
from pathlib import Path

import pytest
import torch
from tiny_data import write_pairs

from crossearth.engine.config import load_config
from crossearth.engine.runner import build_runner

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')


def test_domain_gap_of_your_own(tmp_path):
    code = re.search(r'```python\n(_base_.*?)```', README, re.DOTALL)[1]
    data = tmp_path / 'mine'
    for domain in ('dry', 'wet', 'high'):
        write_pairs(data / domain, 2)
    code = code.replace("'../_base_", f"'{ROOT}/configs/_base_").replace("'data/mine'", f"'{data}'")
    (tmp_path / 'mine.py').write_text(code)
    cfg = load_config(tmp_path / 'mine.py', {
        'model.backbone.weights': 'random', 'model.style': None,
        'work_dir': str(tmp_path / 'run')})
    cfg.model.backbone.arch = {'embed_dim': 32, 'depth': 24, 'num_heads': 2}
    cfg.model.decode_head.in_channels = (32,) * 4
    runner = build_runner(cfg)
    assert runner.model.num_classes == 2
    assert runner.model.test_cfg['stride'] == (341, 341)
    assert runner.model.backbone.grid == (32, 32)
    loader = runner.build_dataloader(
        {**runner.cfg.train_dataloader, 'num_workers': 0, 'persistent_workers': False})
    batch = runner.model.data_preprocessor(next(iter(loader)), training=True)
    assert batch['inputs'].shape == (1, 3, 512, 512)
    assert batch['data_samples'][0].domain == 'dry'
    assert torch.isin(batch['data_samples'][0].gt_sem_seg.data, torch.tensor([0, 1, 255])).all()


@pytest.mark.parametrize('path', sorted(set(
    re.findall(r'(?:tools|configs|scripts)/[\w./-]+\.(?:py|sh)', README))))
def test_named_files_exist(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize('target', sorted(set(re.findall(r'make ([a-z-]+)', README))))
def test_named_targets_exist(target):
    assert re.search(rf'^{target}:', (ROOT / 'Makefile').read_text(), re.MULTILINE)
