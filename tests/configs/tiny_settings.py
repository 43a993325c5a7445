# SPDX-License-Identifier: Apache-2.0
"""The benchmark at a size that a CPU runs in a second: generated data sets, and models shrunk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from crossearth.benchmark import DATA_SETS
from crossearth.engine.runner import build_runner, evaluate_trained

__all__ = ['CROP', 'run', 'shrink', 'write_benchmark', 'write_classes']

CROP = 32  # px; images are somewhat larger, so that crops and sliding windows have work to do
SIZES = {'massachusetts': (48, 48), 'rescuenet': (80, 60)}  # (width, height) px
JPEG = {'deepglobe', 'rescuenet'}
IMAGES = 2  # of each domain and split


def write_benchmark(root: Path) -> None:
    """Write every data set of the benchmark in the prepared layout."""
    for name, data_set in DATA_SETS.items():
        if name == 'potsdam5':  # potsdam's files
            continue
        suffix = '.jpg' if name in JPEG else '.png'
        for domain, split in data_set.counts:
            write_classes(root / name / split / domain, len(data_set.classes), suffix,
                         SIZES.get(name, (40, 40)))
        (root / name / 'index.json').write_text(json.dumps({
            'name': name, 'format': 'crossearth-prepared', 'version': 1, 'ids': 'train',
            'classes': data_set.classes, 'img_suffix': suffix}))


def write_classes(
    folder: Path, classes: int, suffix: str = '.png', size: tuple[int, int] = (40, 40)
) -> None:
    """Write images whose colour tells the class, and their labels, with some ignored pixels."""
    rng = np.random.default_rng([classes, *folder.name.encode()])
    for kind in ('images', 'labels'):
        (folder / kind).mkdir(parents=True)
    for index in range(IMAGES):
        blocks = rng.integers(0, classes, (8, 8)).astype(np.uint8)
        blocks.flat[:classes] = range(classes)  # every class occurs
        label = np.asarray(Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST)).copy()
        image = (label[..., None] * 37 + rng.integers(0, 30, (*label.shape, 3))).astype(np.uint8)
        label[-1] = 255
        Image.fromarray(image).save(folder / 'images' / f'{index}{suffix}')
        Image.fromarray(label).save(folder / 'labels' / f'{index}.png')


def run(cfg: Config, folder: Path) -> tuple[Runner, dict[str, Any]]:
    """Train and test; give the runner and the report."""
    cfg.work_dir = str(folder)
    runner = build_runner(cfg)
    runner.train()
    evaluate_trained(runner)
    return runner, json.loads((folder / 'report.json').read_text())


def shrink(cfg: Config) -> Config:
    """Make a config of the benchmark tiny, in place, before it is completed.

    Data sets, augmentation, evaluator, optimiser and the parts of the model stay those of the
    config; only sizes change, and the style nets to ones without weights.
    """
    factor, cfg.crop_size = CROP / cfg.crop_size[0], (CROP, CROP)
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        for step in loader.dataset.pipeline:
            for key in ('scales', 'scale', 'max_size', 'crop_size'):
                if key in step:
                    step[key] = _scaled(step[key], factor)
    {'ResNet': _shrink_resnet, 'MiT': _shrink_mit}.get(
        cfg.model.backbone.type, _shrink_vit)(cfg.model)
    cfg.model.backbone.weights = 'random'
    cfg.train_cfg.max_iters = 2
    return cfg


def _shrink_resnet(model: Any) -> None:
    model.backbone.depth = 18
    model.decode_head.in_channels = 512
    if 'channels' in model.decode_head:
        model.decode_head.channels = 8


def _shrink_mit(model: Any) -> None:
    model.backbone.arch = 'b0'
    for part in ('decode_head', 'attention_head'):
        if part in model:
            model[part].update(in_channels=(32, 64, 160, 256), channels=8)


def _shrink_vit(model: Any) -> None:
    interval = dict(interval=2) if model.backbone.type == 'RVSA' else {}
    model.backbone.update(
        arch=dict(embed_dim=32, depth=4, num_heads=2, **interval), out_indices=(0, 1, 2, 3))
    if (model.backbone.get('adapter') or {}).get('type') == 'LoRARein':
        model.backbone.adapter.update(num_tokens=6, rank=2, query_dim=16)
    if model.backbone.get('injector'):
        model.backbone.injector.update(dim=8, num_heads=2)
    model.decode_head.in_channels = (32,) * 4
    if model.decode_head.type.endswith('Mask2FormerHead'):
        model.decode_head.update(
            feat_channels=16, num_points=32,
            pixel_decoder=dict(num_layers=1, num_heads=2, num_groups=4, ffn_channels=16),
            transformer_decoder=dict(num_layers=1, num_heads=2, ffn_channels=16))
    for head in (model.decode_head, model.get('auxiliary_head')):
        if head and 'norm_cfg' in head:
            head.update(channels=8, norm_cfg=dict(type='GN', num_groups=2))
    if model.get('auxiliary_head'):
        model.auxiliary_head.in_channels = 32
    if model.get('mim_head'):
        model.mim_head.update(channels=8, size='stride4')
        model.mask.block = 8
    if model.get('style'):
        model.style.update(kind='reinhard_lab', block=8, probability=1)


def _scaled(size: Any, factor: float) -> Any:
    if isinstance(size, list | tuple):
        return type(size)(_scaled(side, factor) for side in size)
    return max(CROP // 2, round(size * factor))
