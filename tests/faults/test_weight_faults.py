# SPDX-License-Identifier: Apache-2.0
"""Faults of weights: files that fit in part, that run code, or whose download goes wrong."""

import multiprocessing
import os

import pytest
import torch
from file_server import serve_one
from made_weights import dinov2

from crossearth import compat
from crossearth.compat import load_checkpoint
from crossearth.download import DownloadError
from crossearth.engine.checkpoint_files import save_checkpoint
from crossearth.engine.config import load_config
from crossearth.engine.runner import build_runner
from crossearth.errors import CheckpointError, UnsafeCheckpointError
from crossearth.weight_files import file_sha256
from crossearth.weights import SOURCES, WeightSource, fetch, load_backbone
from crossearth.weights.inspection import describe

# ------------------------------------------------------------------------------ 8: fits in part


@pytest.mark.parametrize(('share', 'message'), [(0, '0 of 62'), (0.6, '37 of 62')])
def test_fault_08_weights_that_match_in_part(tmp_path, share, message):
    names = dinov2().pretrained_names()
    state = {name: tensor for name, tensor in dinov2().state_dict().items()
             if name in names[:int(share * len(names))]}
    torch.save(state or {'other': torch.ones(1)}, tmp_path / 'x.pth')
    vit = dinov2()
    before = vit.cls_token.clone()
    with pytest.raises(CheckpointError, match=rf'{message} parameters match, missing .*unexpected'):
        load_backbone(vit, tmp_path / 'x.pth')
    assert torch.equal(vit.cls_token, before)


def test_fault_08_head_of_another_shape(tiny_config, tmp_path):
    cfg = load_config(tiny_config)
    cfg.work_dir = str(tmp_path / 'run')
    state = build_runner(cfg).model.state_dict()
    state['decode_head.cls_embed.weight'] = torch.zeros(9, 16)
    torch.save({'state_dict': state}, tmp_path / 'x.pth')
    cfg = load_config(tiny_config)
    cfg.work_dir = str(tmp_path / 'run')
    with pytest.raises(CheckpointError, match=r'cls_embed\.weight is \(9, 16\), not \(3, 16\)'):
        build_runner(cfg, checkpoint=tmp_path / 'x.pth')
    model = build_runner(cfg, checkpoint=tmp_path / 'x.pth', allow_partial=True).model
    assert torch.equal(model.backbone.reins.scale, state['backbone.reins.scale'])


def test_fault_08_interpolation_is_announced(tmp_path, monkeypatch):
    torch.save(dinov2(img_size=518, patch_size=14).state_dict(), tmp_path / 'x.pth')
    lines = []
    monkeypatch.setattr('crossearth.weights.loading.print_log', lambda text, *_: lines.append(text))
    load_backbone(dinov2(), tmp_path / 'x.pth')
    assert 'positions resized from 37 x 37 to 4 x 4' in lines[0]
    assert 'patch kernel 14 -> 16 px' in lines[0]


# ------------------------------------------------------------------------------ 10, 11: runs code

class Attack:
    """Runs a function when it is unpickled."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('place', ['state_dict', 'meta', 'message_hub', 'optimizer'])
def test_fault_10_malicious_pickle(tmp_path, place, legacy):
    trap = tmp_path / 'touched'
    content = {'state_dict': {'w': torch.ones(1)}, place: Attack(os.system, f'touch {trap}')}
    torch.save(content, tmp_path / 'evil.pth', _use_new_zipfile_serialization=not legacy)
    for read in (load_checkpoint, describe, lambda path: load_backbone(dinov2(), path)):
        with pytest.raises(UnsafeCheckpointError, match=r'evil\.pth .*could run code'):
            read(tmp_path / 'evil.pth')
    assert not trap.exists()


def test_fault_10_trusted_on_demand_with_a_warning(tmp_path, monkeypatch):
    trap = tmp_path / 'touched'
    torch.save({'w': torch.ones(1), 'x': Attack(os.system, f'touch {trap}')}, tmp_path / 'x.pth')
    lines = []
    monkeypatch.setattr('mmengine.logging.print_log', lambda text, *_: lines.append(text))
    assert load_checkpoint(tmp_path / 'x.pth', trust=True)['w'] == 1
    assert trap.exists()
    assert 'could run any code' in lines[0]
    torch.save({'w': torch.ones(1)}, tmp_path / 'x.pth')
    load_checkpoint(tmp_path / 'x.pth', trust=True)
    assert len(lines) == 1  # what is safe is read safely, and needs no warning


def test_fault_11_config_in_a_checkpoint_is_not_executed(tiny_config, tmp_path):
    trap = tmp_path / 'touched'
    cfg = load_config(tiny_config, {'train_cfg.max_iters': 1})
    cfg.work_dir = str(tmp_path / 'run')
    runner = build_runner(cfg)
    runner.train()
    path = tmp_path / 'run' / 'iter_1.pth'
    content = compat.load_checkpoint(path)
    content['meta']['config'] = f'from pathlib import Path\nPath({str(trap)!r}).touch()'
    save_checkpoint(content, path)  # with the checksum that fits
    build_runner(cfg, checkpoint=path)
    describe(path)
    runner.resume(str(path))
    assert not trap.exists()


# ------------------------------------------------------------------------------ 28: downloads

@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Known weights `tiny` and their content; `tiny.address(url)` says where they are served."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('CROSSEARTH_WEIGHTS', str(tmp_path / 'weights'))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr('crossearth.download.PAUSE_S', 0)
    torch.save(dinov2(weights='random').state_dict(), tmp_path / 'served.pth')

    digest = file_sha256(tmp_path / 'served.pth')

    class Tiny:
        content = (tmp_path / 'served.pth').read_bytes()
        folder = tmp_path / 'weights'

        def address(self, url, sha256=digest):
            monkeypatch.setitem(SOURCES, 'tiny', WeightSource(
                name='tiny', file_name='tiny.pth', url=url, sha256=sha256, licence='MIT', note=''))

        def left(self):
            return sorted(path.name for path in self.folder.iterdir())

    return Tiny()


def test_fault_28_download_is_cut_and_goes_on(tiny):
    with serve_one(tiny.content, cuts=2) as server:
        tiny.address(server.url)
        assert fetch.get('tiny').read_bytes() == tiny.content
    starts = [int(asked[6:-1]) for asked in server.requests[1:]]
    assert server.requests[0] is None
    assert len(starts) == 2
    assert starts[1] > starts[0] > 0
    assert tiny.left() == ['tiny.pth']


def test_fault_28_wrong_sha256_leaves_nothing(tiny):
    with serve_one(tiny.content) as server:
        tiny.address(server.url, '0' * 64)
        with pytest.raises(DownloadError, match=r'has the sha256 .*, but 000'):
            fetch.get('tiny')
    assert tiny.left() == []


@pytest.mark.filterwarnings('ignore:.*fork.*:DeprecationWarning')
def test_fault_28_two_processes_at_once_download_once(tiny):
    with serve_one(tiny.content) as server:
        tiny.address(server.url)
        context = multiprocessing.get_context('fork')  # inherits the patched table of weights
        processes = [context.Process(target=fetch.get, args=('tiny',)) for _ in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0, 0]
        assert len(server.requests) == 1
    assert (tiny.folder / 'tiny.pth').read_bytes() == tiny.content
    assert tiny.left() == ['tiny.pth']


def test_fault_28_offline_says_where_to_put_the_file(tiny):
    with serve_one(b'') as server:
        url = server.url
    tiny.address(url)
    with pytest.raises(DownloadError) as caught:
        fetch.get('tiny')
    assert url in str(caught.value)
    assert f'The folder for the file is {tiny.folder}, its name tiny.pth' in str(caught.value)
    assert tiny.left() == []
