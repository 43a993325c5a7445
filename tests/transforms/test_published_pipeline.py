# SPDX-License-Identifier: Apache-2.0
"""The augmentation of the configs: the crops of mmseg's and mmcv's transforms, in 8 bits."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from tiny_data import write_domain

from crossearth.datasets import DomainSegDataset
from crossearth.datasets.positions import Position
from crossearth.registry import MODELS

BASE = Path(__file__).resolve().parents[2] / 'configs' / '_base_'
OWN = ('RandomCrop', 'RandomFlip', 'PhotoMetricDistortion', 'PackSegInputs')
FILES = ('crop_128', 'crop_512', 'crop_1024', 'folders_small')


def dataset(root: Path, name: str, scope: str = '') -> DomainSegDataset:
    """Tiles with the training pipeline of a config, its steps of `OWN` taken from a scope."""
    pipeline = Config.fromfile(BASE / 'datasets' / f'{name}.py').train_pipeline
    changed = [{**step, 'type': scope + step['type'] if step['type'] in OWN else step['type']}
               for step in pipeline]
    assert sum(step['type'] in OWN for step in pipeline) == len(OWN)
    return DomainSegDataset(
        str(root), 'dry', metainfo={'classes': ('low', 'high')}, pipeline=changed)


@pytest.mark.parametrize('name', FILES)
def test_crops_are_those_of_mmseg(tmp_path: Path, name: str) -> None:
    write_domain(tmp_path, 'dry', 'train', 2, size=80)
    ours, theirs = (dataset(tmp_path, name, scope) for scope in ('', 'mmseg.'))
    kinds = [type(step).__module__ for step in ours.pipeline.transforms]
    assert sum(kind.startswith('crossearth') for kind in kinds) == 2 + len(OWN)
    for place in range(6):
        mine, plain = (side[Position(place % 2, 0, place)] for side in (ours, theirs))
        assert torch.equal(mine['inputs'], plain['inputs'])
        labels = [one['data_samples'].gt_sem_seg.data for one in (mine, plain)]
        assert [label.dtype for label in labels] == [torch.uint8, torch.int64]
        assert torch.equal(labels[0].long(), labels[1])
        assert mine['data_samples'].metainfo == plain['data_samples'].metainfo


@pytest.mark.parametrize('model', ['rein_dinov2-l', 'rein_dinov3-l-sat', 'mtp_rvsa-l'])
def test_images_and_labels_reach_the_device_in_8_bits_and_become_there_what_a_model_takes(
        tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_domain(tmp_path, 'dry', 'train', 1)
    sample = dataset(tmp_path, 'crop_128')[0]
    settings = Config.fromfile(BASE / 'models' / f'{model}.py').model.data_preprocessor
    normalise = MODELS.build({**settings, 'size': (128, 128)})
    moved: list[torch.dtype] = []

    def cast_data(data: object) -> object:
        if isinstance(data, torch.Tensor):
            moved.append(data.dtype)
        return type(normalise).cast_data(normalise, data)

    monkeypatch.setattr(normalise, 'cast_data', cast_data)
    packed = sample['data_samples'].gt_sem_seg.data
    batch = normalise({'inputs': [sample['inputs']], 'data_samples': [sample['data_samples']]},
                      training=True)
    result, label = batch['inputs'], batch['data_samples'][0].gt_sem_seg.data
    assert moved == [torch.uint8]
    assert (packed.dtype, label.dtype) == (torch.uint8, torch.int64)
    height, width = packed.shape[1:]
    assert torch.equal(label[:, :height, :width], packed.long())
    assert (label[:, height:] == 255).all()
    assert (label[:, :, width:] == 255).all()
    mean, std = (torch.tensor(settings[key]).view(3, 1, 1) for key in ('mean', 'std'))
    expected = (sample['inputs'].flip(0).float() - mean) / std  # BGR -> RGB
    torch.testing.assert_close(result[0, :, :expected.shape[1], :expected.shape[2]], expected)
