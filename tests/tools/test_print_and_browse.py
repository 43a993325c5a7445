# SPDX-License-Identifier: Apache-2.0
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
CONFIG = '''
default_scope = 'crossearth'
model = dict(type='EncoderDecoder')
train_dataloader = dict(batch_size=1, dataset=dict(
    type='DomainSegDataset', data_root={root!r}, split='train', domains=('dry', 'wet'),
    img_dir='{{split}}/{{domain}}/images', ann_dir='{{split}}/{{domain}}/labels',
    metainfo=dict(classes=('soil', 'road'), palette=[[0, 255, 0], [255, 0, 0]]),
    pipeline=[dict(type='LoadImage'), dict(type='LoadLabel'),
              dict(type='PackSegInputs', meta_keys=('img_path', 'domain'))]))
'''


@pytest.fixture
def config(tmp_path):
    for domain in ('dry', 'wet'):
        for kind, pixels in (('images', np.full((16, 16, 3), (0, 0, 250), np.uint8)),
                             ('labels', np.eye(16, dtype=np.uint8))):
            folder = tmp_path / 'train' / domain / kind
            folder.mkdir(parents=True)
            for name in range(5):
                Image.fromarray(pixels).save(folder / f'{name}.png')
    path = tmp_path / 'config.py'
    path.write_text(CONFIG.format(root=str(tmp_path)))
    return path


def run(monkeypatch, tool, *arguments):
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
    runpy.run_path(str(TOOLS / tool), run_name='__main__')


def test_print_config_shows_what_a_run_would_see(monkeypatch, capsys):
    config = TOOLS.parent / 'configs' / 'demo' / 'crossearth_subtropical_monsoon.py'
    run(monkeypatch, 'print_config.py', config, '--cfg-options', 'randomness.seed=7')
    printed = {}
    exec(capsys.readouterr().out, printed)  # it is a config again
    assert printed['randomness']['seed'] == 7
    assert printed['model']['decode_head']['num_classes'] == 6  # filled in from the data set


def test_print_config_shows_where_the_data_lie(monkeypatch, capsys, tmp_path):
    config = TOOLS.parent / 'configs' / 'crossearth' / 'casid_sub2tem.py'
    monkeypatch.setenv('CROSSEARTH_DATA', str(tmp_path))
    for options, root in (((), tmp_path / 'casid'), (('--data-root', tmp_path), tmp_path)):
        run(monkeypatch, 'print_config.py', config, *options)
        printed = {}
        exec(capsys.readouterr().out, printed)
        for split in ('train', 'test'):
            assert printed[f'{split}_dataloader']['dataset']['data_root'] == str(root)


def test_browse_dataset_draws_every_sample_in_true_colours(config, monkeypatch, capsys, tmp_path):
    run(monkeypatch, 'browse_dataset.py', config, '--out', tmp_path / 'out', '--number', 99)
    pages = capsys.readouterr().out.split()
    assert [Path(page).name for page in pages] == ['train_00.png', 'train_01.png']  # 8 + 2 of 10
    pixels = np.asarray(Image.open(pages[0])).reshape(-1, 3)
    for colour in ([0, 0, 250], [0, 255, 0], [255, 0, 0]):  # blue stays blue: no BGR mix-up
        assert (pixels == colour).all(axis=1).sum() > 1000


def test_browse_dataset_from_another_root(config, monkeypatch, capsys, tmp_path):
    config.write_text(CONFIG.format(root='nowhere/tiles'))
    run(monkeypatch, 'browse_dataset.py', config, '--out', tmp_path / 'out', '--number', 1,
        '--data-root', tmp_path)
    assert capsys.readouterr().out.split() == [str(tmp_path / 'out' / 'train_00.png')]


def test_browse_dataset_without_that_split(config, monkeypatch, capsys):
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, 'browse_dataset.py', config, '--split', 'test')
    assert caught.value.code == 2
    assert 'has no test_dataloader. Choose another --split' in capsys.readouterr().err
