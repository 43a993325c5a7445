# SPDX-License-Identifier: Apache-2.0
"""Mutated files of weights end in an error of ours, or in tensors."""

import random
import time
from contextlib import suppress

import pytest
import torch
from made_weights import as_transformers, dinov2
from mmengine.config import ConfigDict
from safetensors.torch import save_file

from crossearth.errors import CrossEarthError
from crossearth.weights.inspection import describe

TINY = {'embed_dim': 4, 'depth': 1, 'num_heads': 1}


@pytest.fixture(scope='module')
def originals(tmp_path_factory):
    """Small files of every format, by suffix."""
    folder = tmp_path_factory.mktemp('originals')
    vit = dinov2(arch=TINY, out_indices=(0, 0, 0, 0), img_size=16, patch_size=4).state_dict()
    checkpoint = {
        'state_dict': {**{f'backbone.{name}': t for name, t in vit.items()},
                       'decode_head.cls_embed.weight': torch.ones(3, 2)},
        'meta': {'iter': 1, 'config': 'x = 1', 'cfg': ConfigDict(a=1)}}
    torch.save(checkpoint, folder / 'zip.pth')
    torch.save(checkpoint, folder / 'legacy.pth', _use_new_zipfile_serialization=False)
    save_file(as_transformers(vit), folder / 'x.safetensors')
    return [(path.suffix, path.read_bytes()) for path in folder.iterdir()]


def mutate(data, rng):
    """Flip, cut, drop, double or overwrite bytes."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 3, 30))):
        if not data:
            break
        at, length = rng.randrange(len(data)), rng.choice((1, 2, 4, 8, 64))
        chunk = slice(at, at + length)
        action = rng.choice(('flip', 'set', 'cut', 'drop', 'double', 'overwrite'))
        if action == 'flip':
            data[at] ^= 1 << rng.randrange(8)
        elif action == 'set':
            data[at] = rng.randrange(256)
        elif action == 'cut':
            del data[at:]
        elif action == 'drop':
            del data[chunk]
        elif action == 'double':
            data[at:at] = data[chunk]
        else:
            data[chunk] = rng.randbytes(length)
    return bytes(data)


@pytest.mark.filterwarnings('ignore')  # torch warns of odd pickle protocols
@pytest.mark.parametrize('seconds', [3, pytest.param(60, marks=pytest.mark.slow)])
def test_mutated_bytes_end_in_our_errors(originals, tmp_path, seconds):
    for _, data in originals:
        assert data  # unmutated files are read by the tests of each format
    seed, end = int(time.time()), time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        rng = random.Random(seed + number)
        suffix, data = rng.choice(originals)
        path = tmp_path / f'x{suffix}'
        path.write_bytes(mutate(data, rng))
        try:
            with suppress(CrossEarthError):
                assert describe(path)
        except Exception as error:
            raise AssertionError(f'seed {seed + number} of {suffix}: {error!r}') from error
        number += 1
    assert number > 20
