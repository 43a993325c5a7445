# SPDX-License-Identifier: Apache-2.0
"""A training of milliseconds an iteration: real data and engine, a model of two convolutions."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import BaseModel
from tiny_data import write_domain
from torch import Tensor, nn

from crossearth.engine.resuming import CrossEarthRunner
from crossearth.models.layers.drop_path import DropPath
from crossearth.registry import MODELS

__all__ = ['MEASURED', 'history', 'toy_runner']

MEASURED = ('time', 'throughput', 'memory')  # logged, and never the same twice


@MODELS.register_module()
class ToySegmentor(BaseModel):
    """Frozen and trained convolution, dropout and drop path.

    Args:
        nan_at: Calls, counted from 0, in which `loss_b` is NaN.
    """

    def __init__(self, nan_at: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.frozen = nn.Conv2d(3, 8, 1).requires_grad_(False)
        self.branch = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.Dropout(0.5), DropPath(0.5))
        self.out = nn.Conv2d(8, 2, 1)
        self.ballast = nn.Parameter(torch.zeros(50_000))
        self.nan_at, self.calls = nan_at, 0

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = 'loss') -> Any:
        x = self.frozen(torch.stack(list(inputs)).float() / 255)
        scores = self.out(x + self.branch(x))
        if mode == 'predict':
            return scores
        labels = torch.stack([sample.gt_sem_seg.data[0] for sample in data_samples]).long()
        factor = float('nan') if self.calls in self.nan_at else 1.0
        self.calls += 1
        loss: Tensor = F.cross_entropy(scores, labels, ignore_index=255)
        return {'loss_a': loss, 'loss_b': factor * scores.pow(2).mean() + 0 * self.ballast.sum()}


def toy_runner(
    root: Path, name: str, iters: int = 20, workers: int = 0, ema: bool = False,
    nan_at: tuple[int, ...] = (), **options: Any,
) -> CrossEarthRunner:
    """Make a runner in `root/name`; `options` are dotted keys of its config."""
    if not (root / 'tiles').is_dir():
        write_domain(root / 'tiles', 'dry', 'train', 7)
    cfg = Config({
        'default_scope': 'crossearth', 'work_dir': str(root / name),
        'experiment_name': f'{root.name}_{name}_{options.get("resume", False)}',
        'randomness': {'seed': 3}, 'log_level': 'WARNING',
        'model': {'type': 'ToySegmentor', 'nan_at': nan_at},
        'train_dataloader': {
            'batch_size': 2, 'num_workers': workers,
            'sampler': {'type': 'InfiniteSampler', 'shuffle': True},
            'dataset': {
                'type': 'DomainSegDataset', 'data_root': str(root / 'tiles'), 'domains': ('dry',),
                'metainfo': {'classes': ('low', 'high')}, 'pipeline': [
                    {'type': 'LoadImage'}, {'type': 'LoadLabel'},
                    {'type': 'RandomCrop', 'crop_size': (16, 16)},
                    {'type': 'RandomFlip', 'prob': 0.5}, {'type': 'PhotoMetricDistortion'},
                    {'type': 'PackSegInputs'}]}},
        'optim_wrapper': {
            'type': 'OptimWrapper', 'constructor': 'TrainableOptimWrapperConstructor',
            'optimizer': {'type': 'AdamW', 'lr': 0.01}, 'clip_grad': {'max_norm': 10.0}},
        'param_scheduler': [
            {'type': 'LinearLR', 'start_factor': 0.1, 'end': 5, 'by_epoch': False},
            {'type': 'PolyLR', 'power': 0.9, 'begin': 5, 'end': 30, 'by_epoch': False}],
        'train_cfg': {'type': 'ResumableTrainLoop', 'max_iters': iters},
        'default_hooks': {
            'logger': {'type': 'LoggerHook', 'interval': 50},
            'checkpoint': {
                'type': 'SafeCheckpointHook', 'interval': 10, 'max_keep_ckpts': 0},
            **({'ema': {'type': 'TrainedEMAHook'}} if ema else {})},
        'custom_hooks': []})
    cfg.merge_from_dict(options)
    return CrossEarthRunner.from_cfg(cfg)


def history(runner: CrossEarthRunner) -> dict[str, list[float]]:
    """Everything that was logged, but for the times."""
    return {name: buffer.data[0].tolist()
            for name, buffer in runner.message_hub.log_scalars.items()
            if not name.endswith(MEASURED)}
