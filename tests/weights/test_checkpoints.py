# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in a segmentor: published layouts, whole and in part, and every refusal."""

import logging

import pytest
import torch
from made_weights import golden_state, published_model, rvsa_state
from mmengine.logging import HistoryBuffer
from torch import nn

from crossearth.errors import CheckpointError, ConfigError, WeightsNotFoundError
from crossearth.weights import load_backbone
from crossearth.weights.checkpoints import load_pretrained, load_segmentor

GEO = {'gse': {}, 'injector': {'dim': 8, 'num_heads': 2}}
TRAINED = ('backbone.reins.', 'decode_head.')


@pytest.fixture
def files(golden, tmp_path):
    """Write parts of the published model: the full state, what training keeps, the backbone."""
    state = golden_state(golden)
    backbone = {name.removeprefix('backbone.'): tensor for name, tensor in state.items()
                if name.startswith('backbone.') and '.reins.' not in name}
    trained = {name: tensor for name, tensor in state.items() if name.startswith(TRAINED)}
    torch.save(backbone, tmp_path / 'dinov2_converted.pth')

    def write(state, **extras):
        path = tmp_path / 'published.pth'
        torch.save({'state_dict': state, 'meta': {'iter': 30000}, **extras}, path)
        return path

    write.state, write.trained, write.backbone = state, trained, tmp_path / 'dinov2_converted.pth'
    return write


def scores(model, golden):
    with torch.no_grad():
        return model.eval().inference(torch.from_numpy(golden['x'])[..., :64, :64])


def assert_golden(model, golden):
    expected = torch.from_numpy(golden['whole'])
    assert (scores(model, golden) - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_golden_scores_of_a_full_published_file(golden, files):
    path = files(
        {**files.state, 'mask_token': torch.zeros(1, 3, 64, 64),
         'task_head.linear.weight': torch.zeros(3, 8), 'augmentor.stylePredictor.fc.bias':
         torch.zeros(100)},
        optimizer={'state': {}, 'param_groups': []},
        message_hub={'log_scalars': {'train/loss': HistoryBuffer([1.0], [1])}})
    model = published_model(golden)
    loaded = load_segmentor(model, path)
    assert_golden(model, golden)
    assert loaded.has_backbone
    assert loaded.meta == {'iter': 30000}
    left_out = {r.part: r.notes for r in loaded.reports if r.notes}
    assert left_out == {
        'mim': ('left out, only training needs it: mask_token, task_head.linear.weight',),
        'style': ('left out, only training needs it: augmentor.stylePredictor.fc.bias',)}


def test_golden_scores_of_adapters_and_head_with_the_backbone_merged(golden, files):
    model = published_model(golden, weights=str(files.backbone))
    loaded = load_segmentor(model, files(files.trained))
    assert_golden(model, golden)
    assert not loaded.has_backbone
    assert [(r.part, r.matched == r.total) for r in loaded.reports] == [
        ('backbone', True), ('adapters', True), ('head', True)]
    assert model.backbone_provenance['name'] == 'dinov2_converted.pth'


def test_backbone_is_taken_out_of_a_full_checkpoint(golden, files):
    path = files(files.state)
    model = published_model(golden, weights=str(path))
    load_pretrained(model)
    expected = files.state['backbone.blocks.3.mlp.fc2.weight']
    assert torch.equal(model.backbone.blocks[3].mlp.fc2.weight, expected)


def test_raw_14_px_backbone_is_converted_and_the_table_says_so(golden, files, monkeypatch):
    raw = published_model(golden, img_size=518, patch_size=14, weights='random').backbone
    names = raw.pretrained_names()
    torch.save({n: p for n, p in raw.named_parameters() if n in names}, files.backbone)
    lines = []
    monkeypatch.setattr(
        'crossearth.weights.checkpoints.print_log', lambda text, *_: lines.append(text))
    load_segmentor(published_model(golden, weights=str(files.backbone)), files(files.trained))
    assert 'published.pth: Rein or published CrossEarth checkpoint without backbone' in lines[0]
    assert '5 classes' in lines[0]
    assert ('62/62       0          0  dinov2_converted.pth; patch kernel 14 -> 16 px; '
            'positions resized from 37 x 37 to 4 x 4') in lines[0]


def test_missing_backbone_is_refused(golden, files, monkeypatch, tmp_path):
    monkeypatch.setenv('CROSSEARTH_WEIGHTS', str(tmp_path / 'empty'))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'empty'))
    monkeypatch.chdir(tmp_path)
    path = files(files.trained)
    with pytest.raises(WeightsNotFoundError, match='dinov2_vitl14_pretrain'):
        load_segmentor(published_model(golden, weights='dinov2_vitl14'), path)
    with pytest.raises(ConfigError, match='a backbone of random values would train silently'):
        load_segmentor(published_model(golden), path)


def test_backbone_in_part_is_refused(golden, files):
    state = {name: t for name, t in files.state.items() if 'backbone.blocks.1' not in name}
    model = published_model(golden, weights=str(files.backbone))
    with pytest.raises(CheckpointError, match=r'only in part: 48 of 62 parameters match'):
        load_segmentor(model, files(state))
    load_segmentor(model, files(state), allow_partial=True)  # the file fills what is missing
    assert_golden(model, golden)


@pytest.mark.parametrize(('change', 'message'), [
    (lambda s: {n: t for n, t in s.items() if n.startswith('decode_head.')},
     r'without backbone \(head\).*backbone\.reins\.\S+ is missing.*11 diff.*--allow-partial'),
    (lambda s: {**s, 'decode_head.cls_embed.weight': torch.zeros(9, 32),
                'decode_head.cls_embed.bias': torch.zeros(9)},
     r'cls_embed.weight is \(9, 32\), not \(6, 32\).*2 diff.*It knows 8 classes, the config 5'),
    (lambda s: {**s, 'backbone.reins.gse.conv.weight': torch.zeros(1)},
     r'backbone\.reins\.gse\.conv\.weight is unexpected \(1 differences'),
    (lambda s: {**s, 'decode_head.conv_seg.bias': torch.zeros(5)}, r'conv_seg\.bias is unexp'),
    (lambda s: {**s, 'anything.else': torch.zeros(5)}, r'anything\.else is unexpected'),
])
def test_anything_incomplete_is_refused_and_loads_on_demand(golden, files, change, message):
    model = published_model(golden, weights=str(files.backbone))
    path = files(change(files.trained))
    with pytest.raises(CheckpointError, match=f'(?s){message}'):
        load_segmentor(model, path)
    loaded = load_segmentor(model, path, allow_partial=True)
    assert sum(len(report.faults) for report in loaded.reports) >= 1
    trained = files.trained['decode_head.mask_embed.4.weight']
    assert torch.equal(model.decode_head.mask_embed[4].weight, trained)


def test_file_of_which_nothing_fits_is_refused_even_on_demand(golden, files):
    model = published_model(golden, weights=str(files.backbone))
    with pytest.raises(CheckpointError, match='does not fit'):
        load_segmentor(model, files({'decode_head.foo': torch.zeros(1)}), allow_partial=True)


def test_published_file_has_no_gse(golden, files):
    path = files(files.trained)
    with pytest.raises(CheckpointError, match=r'published checkpoints have none: set '):
        load_segmentor(published_model(golden, weights=str(files.backbone), **GEO), path)
    model = published_model(
        golden, weights=str(files.backbone), geospatial_at_test=False, **GEO)
    loaded = load_segmentor(model, path)
    assert_golden(model, golden)
    assert loaded.reports[1].notes == ('no GSE and Injector: the config keeps them off at test',)
    half = {**files.trained, 'backbone.injector.gamma': model.backbone.injector.gamma}
    with pytest.raises(CheckpointError, match=r'backbone\.gse\.\S+ is missing'):
        load_segmentor(model, files(half))


def test_own_multi_task_checkpoint_loads_into_the_model_without_its_tasks(golden, files):
    preprocessor = {'type': 'SegDataPreProcessor', 'size': (64, 64)}
    whole = published_model(golden, weights=str(files.backbone), model={
        'type': 'CrossEarthSegmentor', 'data_preprocessor': preprocessor,
        'mim_head': {'channels': 8}})
    state = whole.state_dict()
    loaded = load_segmentor(published_model(golden, weights=str(files.backbone)), files(state))
    assert not any(report.faults for report in loaded.reports)
    with pytest.raises(CheckpointError, match=r'mim_head\.\S+ is missing'):
        load_segmentor(whole, files(files.trained))


def test_mtp_backbone_is_named_when_refused(golden, files):
    state = {f'backbone.{name}': tensor for name, tensor in rvsa_state().items()}
    heads = {n: t for n, t in files.trained.items() if n.startswith('decode_head.')}
    model = published_model(golden, weights=str(files.backbone))
    with pytest.raises(CheckpointError, match=r'RVSA \(MTP\) ViT'):
        load_segmentor(model, files({**heads, **state}))


def test_other_backbones_are_a_part_like_any(golden, files):
    model = published_model(golden, weights='random')
    model.backbone = nn.Sequential(nn.Conv2d(3, 4, 1))
    heads = {n: t for n, t in files.trained.items() if n.startswith('decode_head.')}
    conv = {'backbone.0.weight': torch.ones(4, 3, 1, 1), 'backbone.0.bias': torch.ones(4)}
    load_segmentor(model, files({**heads, **conv}))
    assert model.backbone[0].bias.tolist() == [1] * 4
    with pytest.raises(CheckpointError, match=r'backbone\.0\.weight is missing'):
        load_segmentor(model, files(heads))


def test_known_name_with_another_hash_is_used_with_a_warning(golden, files, monkeypatch):
    folder = files.backbone.parent
    files.backbone.rename(folder / 'dinov2_vitl14_pretrain.pth')
    monkeypatch.setenv('CROSSEARTH_WEIGHTS', str(folder))
    model = published_model(golden, weights='dinov2_vitl14')
    records = []
    monkeypatch.setattr('crossearth.weights.sources.print_log',
                        lambda text, logger, level: records.append((level, text)))
    load_pretrained(model)
    (level, text), = records
    assert level == logging.WARNING
    assert 'not d5383ea8f487' in text
    assert 'as measured by third parties' in text


def test_part_of_a_backbone_on_demand_must_hold_something(golden, files, tmp_path):
    vit = published_model(golden).backbone
    torch.save({'cls_token': vit.cls_token}, tmp_path / 'x.pth')
    report = load_backbone(vit, tmp_path / 'x.pth', allow_partial=True)
    assert (report.matched, report.total) == (1, 62)
    torch.save({'foo': vit.cls_token}, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match='0 of 62'):
        load_backbone(vit, tmp_path / 'x.pth', allow_partial=True)
