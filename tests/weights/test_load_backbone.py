# SPDX-License-Identifier: Apache-2.0
"""Files of weights: formats, wrappers, damage, code; complete loading of a backbone."""

import pickle
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from crossearth.errors import CheckpointError, UnsafeCheckpointError, WeightsNotFoundError
from crossearth.models.backbones import DINOv2
from crossearth.weights import load_backbone, read_state_dict

TINY = {'embed_dim': 16, 'depth': 4, 'num_heads': 2}


def backbone(**kwargs):
    return DINOv2(**{'arch': TINY, 'img_size': 64, 'out_indices': (0, 1, 2, 3), **kwargs})


def official(**kwargs):
    """Random weights in the shapes of an official file: 14 px patches, 37 x 37 grid, mask token."""
    vit = backbone(img_size=518, patch_size=14, **kwargs)
    return {**vit.state_dict(), 'mask_token': torch.zeros(1, 16)}


def saved(state, path):
    if path.suffix == '.safetensors':
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize('name', ['x.safetensors', 'x.pth', 'x.pt'])
def test_formats(tmp_path, name):
    state = {'a': torch.arange(6.0).view(2, 3), 'b.c': torch.tensor([True])}
    read = read_state_dict(saved(state, tmp_path / name))
    assert read.keys() == state.keys()
    assert all(torch.equal(read[key], state[key]) for key in state)


@pytest.mark.parametrize('wrap', [
    lambda s: {'state_dict': s, 'meta': {'epoch': 3}},
    lambda s: {'model': s, 'epoch': 3},
    lambda s: {'teacher': s},
    lambda s: {'model': {'state_dict': s}},
    lambda s: {f'module.{key}': value for key, value in s.items()},
    lambda s: {'state_dict': {f'module.{key}': value for key, value in s.items()}},
    lambda s: {**s, '_version': 2},
])
def test_wrappers(tmp_path, wrap):
    state = {'a': torch.ones(2), 'module_b': torch.zeros(1)}
    assert read_state_dict(saved(wrap(state), tmp_path / 'x.pth')).keys() == state.keys()


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize('legacy', [False, True])
def test_file_that_runs_code_is_refused(tmp_path, legacy):
    trap = tmp_path / 'touched'
    torch.save({'a': torch.ones(1), 'b': Touch(trap)}, tmp_path / 'x.pth',
               _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UnsafeCheckpointError, match=r'x\.pth .*could run code'):
        read_state_dict(tmp_path / 'x.pth')
    assert not trap.exists()


def test_plain_pickle_that_runs_code_is_refused(tmp_path):
    trap = tmp_path / 'touched'
    (tmp_path / 'x.pth').write_bytes(pickle.dumps(Touch(trap)))
    with pytest.raises(CheckpointError):
        read_state_dict(tmp_path / 'x.pth')
    assert not trap.exists()


@pytest.mark.parametrize('name', ['x.safetensors', 'x.pth'])
@pytest.mark.parametrize('keep', [0, 1, 7, 100, 0.5, -1])
def test_truncated_file(tmp_path, name, keep):
    path = saved({'a': torch.randn(500)}, tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[:int(len(content) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match=rf'{name} cannot be read'):
        read_state_dict(path)


@pytest.mark.parametrize('name', ['x.safetensors', 'x.pth'])
@pytest.mark.parametrize(
    'content', [b'<!DOCTYPE html><html>404', b'\x80\x02}q\x00.', b'PK\x03\x04'])
def test_something_else(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        read_state_dict(tmp_path / name)


@pytest.mark.parametrize('legacy', [False, True])
def test_damaged_bytes_never_end_in_another_error(tmp_path, legacy):
    path = tmp_path / 'x.pth'
    torch.save({'a': torch.randn(20), 'n': [1, 'two']}, path,
               _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    for position in torch.randint(len(content), (150,)).tolist():
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        with suppress(CheckpointError):  # damage within the values of a tensor goes unnoticed
            read_state_dict(path)


def test_no_file(tmp_path):
    with pytest.raises(WeightsNotFoundError, match='no file of weights at'):
        read_state_dict(tmp_path / 'x.pth')


@pytest.mark.parametrize(('content', 'kind'), [([torch.ones(1)], 'list'), ({'a': 1}, 'dict')])
def test_no_state_dict(tmp_path, content, kind):
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match=f'holds no tensors by name, but {kind} data'):
        read_state_dict(tmp_path / 'x.pth')


@pytest.mark.parametrize('registers', [0, 4])
def test_official_file_fills_the_backbone(tmp_path, registers):
    state = official(num_registers=registers)
    adapter = {'type': 'LoRARein', 'num_tokens': 3, 'rank': 2, 'query_dim': 8}
    vit = backbone(num_registers=registers, adapter=adapter)
    before = {name: value.clone() for name, value in vit.state_dict().items()}

    report = load_backbone(vit, saved(state, tmp_path / 'x.pth'))

    assert report.matched == report.total == len(state) - 1
    assert report.missing == report.unexpected == ()
    assert torch.equal(vit.blocks[1].mlp.fc2.weight, state['blocks.1.mlp.fc2.weight'])
    assert torch.equal(vit.pos_embed[:, 0], state['pos_embed'][:, 0])
    for name, value in vit.state_dict().items():  # the file says nothing about the adapters
        if name.startswith('reins.'):
            assert torch.equal(value, before[name])
    vit(torch.zeros(1, 3, 64, 64))  # refuses to run while weights are missing


def test_surplus_tensors_are_reported(tmp_path):
    state = {**official(), 'head.weight': torch.zeros(3, 16)}
    report = load_backbone(backbone(), saved(state, tmp_path / 'x.pth'))
    assert report.unexpected == ('head.weight',)


@pytest.mark.parametrize(('change', 'message'), [
    (lambda s: {'foo': torch.ones(1)}, r'0 of \d+ parameters match.*unexpected foo'),
    (lambda s: {k: v for k, v in s.items() if 'blocks.1' not in k},
     r'48 of 62 .*missing blocks\.1\.norm1\.weight, .* and 11 more'),
    (lambda s: {**s, 'cls_token': torch.zeros(1, 1, 8)},
     r'another architecture .*cls_token is \(1, 1, 8\), not \(1, 1, 16\)'),
    (lambda s: {**s, 'pos_embed': torch.zeros(1, 1370, 8)}, 'pos_embed is'),
    (lambda s: {**s, 'pos_embed': torch.zeros(1, 1370 + 2, 16)}, 'does not fit the backbone'),
    (lambda s: {**s, 'patch_embed.proj.weight': torch.zeros(16, 4, 14, 14)}, 'patch_embed'),
    (lambda s: {**s, 'register_tokens': torch.zeros(1, 4, 16)}, r'num_registers=4'),
])
def test_weights_that_do_not_fit(tmp_path, change, message):
    vit = backbone()
    with pytest.raises(CheckpointError, match=message):
        load_backbone(vit, saved(change(official()), tmp_path / 'x.pth'))
