# SPDX-License-Identifier: Apache-2.0
"""What the tool says of whole, partial, foreign, damaged and malicious files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from made_weights import dinov2, golden_state, rvsa_state

from crossearth.errors import WeightsNotFoundError
from crossearth.weight_files import file_sha256, save_tensors
from crossearth.weights.inspection import describe

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / 'tools' / 'inspect_checkpoint.py', *arguments],
        capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': str(ROOT)})


def test_published_checkpoint(golden, tmp_path):
    path = tmp_path / 'casid.pth'
    state = {**golden_state(golden), 'backbone.reins.gse.0.weight': torch.zeros(4, 3, 3, 3),
             'mask_token': torch.zeros(1, 3, 64, 64)}
    torch.save({
        'state_dict': state, 'optimizer': {}, 'message_hub': {},
        'meta': {'iter': 30000, 'seed': 42, 'mmengine_version': '0.10.5', 'config': 'raise',
                 'backbone': {'name': 'b.pth', 'sha256': 'ab' * 32}}}, path)
    text = describe(path)
    assert "casid.pth: authors' CrossEarth training checkpoint with DINOv2 ViT of 4 blocks" in text
    assert file_sha256(path) in text
    assert 'classes     5' in text
    assert 'patches     16 px, positions 4 x 4' in text
    assert 'also holds  optimizer, message_hub' in text
    assert f'trained on  b.pth (sha256 {"ab" * 32})' in text
    assert 'iter 30000, seed 42, mmengine_version 0.10.5' in text
    assert '1 unknown tensors:\n    backbone.reins.gse.0.weight (4, 3, 3, 3)' in text
    adapters = [line.split() for line in text.splitlines() if line.startswith('  adapters')]
    count = sum(t.numel() for name, t in state.items() if '.reins.' in name)
    assert adapters == [['adapters', '12', f'{count:,}', f'{count * 4 / 1e6:.1f}']]
    assert 'decode_head.level_embed.weight (3, 32) float32' not in text
    assert 'decode_head.level_embed.weight (3, 32) float32' in describe(path, keys=True)


def test_backbone_with_provenance(tmp_path):
    path = tmp_path / 'x.safetensors'
    save_tensors({**dinov2().state_dict(), 'head.weight': torch.zeros(2)}, path,
                 {'source': 'somewhere', 'licence': 'MIT'})
    text = describe(path)
    assert 'provenance  source: somewhere, licence: MIT' in text
    assert '1 unknown tensors:\n    head.weight (2,)' in text


def test_mtp_and_strangers(tmp_path):
    torch.save(rvsa_state(), tmp_path / 'mtp.pth')
    assert 'RVSA (MTP) ViT' in describe(tmp_path / 'mtp.pth')
    torch.save({f'layer{i}.weight': torch.zeros(i) for i in range(25)}, tmp_path / 'x.pth')
    text = describe(tmp_path / 'x.pth')
    assert 'nothing that CrossEarth knows' in text
    assert '25 unknown tensors' in text
    assert 'and 5 more (--keys lists all)' in text


def test_no_file(tmp_path):
    with pytest.raises(WeightsNotFoundError, match='no file of weights'):
        describe(tmp_path / 'x.pth')


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def test_command_line(tmp_path):
    torch.save({'w': torch.zeros(1), 'x': Attack(tmp_path / 'touched')}, tmp_path / 'x.pth')
    refused = run(tmp_path / 'x.pth')
    assert refused.returncode == 2
    assert refused.stderr.startswith('error: The checkpoint')
    assert '--trust-checkpoint' in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / 'touched').exists()
    trusted = run(tmp_path / 'x.pth', '--trust-checkpoint', '--keys')
    assert trusted.returncode == 0
    assert (tmp_path / 'touched').exists()
    assert 'w (1,) float32' in trusted.stdout
    (tmp_path / 'x.pth').write_bytes(b'PK\x03\x04 cut')
    damaged = run(tmp_path / 'x.pth')
    assert damaged.returncode == 2
    assert 'cannot be read' in damaged.stderr
