# SPDX-License-Identifier: Apache-2.0
"""A finished training -> a model bundle.

This is the last time that the config, which is a program, is run: the bundle holds plain values.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from logging import WARNING
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from torch import nn

from crossearth import __version__
from crossearth.datasets.base import hues
from crossearth.errors import CheckpointError, ConfigError
from crossearth.inference.bundle import write_bundle
from crossearth.inference.card import FORBIDDEN_KEYS, Card
from crossearth.registry import MODELS
from crossearth.weight_files import file_sha256

from .bundle_statistics import training_statistics
from .checkpoint_files import list_checkpoints
from .complete import complete_config, dataset_classes, dataset_domains
from .config import load_config
from .config_check import metainfos
from .runner import TRAINING_PARTS, load_checkpoint

__all__ = ['export_bundle', 'load_trained']

TRAINING_ONLY = (*TRAINING_PARTS, 'mask', 'prompt', 'train_cfg', 'data_preprocessor', 'compile')
NAMES = ('mIoU', 'aAcc', 'mF1', 'IoU')


def export_bundle(
    work_dir: str | Path,
    folder: str | Path,
    *,
    checkpoint: str | Path | None = None,
    gsd_m: float | None = None,
    licence: str = 'unknown',
    bands: tuple[str, ...] | None = None,
    statistics: int = 200,
) -> Path:
    """Write the bundle of a training.

    Args:
        work_dir: Its folder, with the completed config and checkpoints.
        folder: The bundle.
        checkpoint: Another checkpoint than the last one.
        gsd_m: Size of a pixel of the training data on the ground in metres, where it is known.
        licence: SPDX identifier of the licence of the weights.
        bands: Names of the input bands in order; R, G, B if not given.
        statistics: Training images that describe the training domain for `crossearth gap`; 0
            leaves that out.

    Returns:
        The folder of the bundle.

    Raises:
        CrossEarthError: Config, checkpoint or backbone are missing or do not fit together.
    """
    work_dir = Path(work_dir)
    config_path = _config_file(work_dir)
    last = checkpoint is None
    checkpoint = _last_checkpoint(work_dir) if checkpoint is None else Path(checkpoint)
    if not checkpoint.is_file():
        raise CheckpointError(f'there is no checkpoint {checkpoint}. Correct the path.')
    cfg = complete_config(load_config(config_path))
    model, card = load_trained(cfg, checkpoint, bands=bands)
    normalisation = {'mean': card.mean, 'std': card.std, 'bands': card.bands}
    described_domain: dict[str, Any] = {}
    if statistics and cfg.get('train_dataloader'):
        described_domain, missing = training_statistics(
            cfg.train_dataloader.dataset, model, normalisation, _crop(cfg), statistics)
        if missing:
            print_log(f'The bundle does not describe its training domain, so `crossearth gap` '
                      f'needs --reference: {missing}', logger='current', level=WARNING)
    card = replace(
        card, gsd_m=gsd_m, licence=licence, statistics=described_domain,
        metrics=_metrics(work_dir / 'report.json') if last else {},
        provenance=_provenance(config_path, checkpoint, model))
    return write_bundle(folder, model, card)


def load_trained(
    cfg: Config, checkpoint: str | Path, *, bands: tuple[str, ...] | None = None
) -> tuple[nn.Module, Card]:
    """Build what predicts of a trained model, and describe it.

    Args:
        cfg: The config of the training; what follows from its data it need not say.
        checkpoint: One of its checkpoints.
        bands: Names of the input bands in order; R, G, B if not given.

    Returns:
        The filled segmentor, and its card without what is known about one release only.

    Raises:
        CrossEarthError: Config, checkpoint or backbone are missing or do not fit together.
    """
    cfg = complete_config(cfg)
    described = _inference_part(cfg.model.to_dict())
    model = MODELS.build(described)
    if getattr(model.backbone, 'weights', None) == 'random' and model.frozen_names():
        raise CheckpointError(
            f'{checkpoint} was trained on a frozen backbone of random values, which checkpoints '
            'leave out, so nobody can restore the model. Train with real weights, or with '
            'model.backbone.frozen=False.')
    load_checkpoint(model, checkpoint)
    classes = dataset_classes(cfg)
    if not classes:
        raise ConfigError(f'{cfg.filename} does not name the classes of its data. Add '
                          'metainfo=dict(classes=(...)) to its data sets.')
    if 'weights' in described['backbone']:
        described['backbone']['weights'] = 'random'  # whoever fills the model again has them all
    return model, Card(
        model=described, classes=classes, palette=_palette(cfg, len(classes)), crop=_crop(cfg),
        overlap=_overlap(described), output=_output(model.decode_head),
        training_domain=_domains(cfg), **_normalisation(cfg, bands))


def _config_file(work_dir: Path) -> Path:
    """The config that a run left in its folder; of several, the newest."""
    files = sorted(work_dir.glob('*.py'), key=lambda path: path.stat().st_mtime)
    if not files:
        raise ConfigError(f'{work_dir} is no folder of a training: it holds no config (.py). Give '
                          'the work_dir of a finished run, e.g. work_dirs/casid_sub2tem.')
    return files[-1]


def _last_checkpoint(work_dir: Path) -> Path:
    """The latest iteration."""
    if found := list_checkpoints(work_dir):
        return found[0]
    raise CheckpointError(f'{work_dir} holds no checkpoint (iter_<n>.pth). Train first, or name '
                          'one with --checkpoint.')


def _inference_part(model: dict[str, Any]) -> dict[str, Any]:
    """The description of a model without what only training needs, and without paths."""
    part = {key: value for key, value in _without_paths(model).items() if key not in TRAINING_ONLY}
    if part['type'] in ('CrossEarthSegmentor', 'DAFormerSegmentor'):
        part['type'] = 'PEFTEncoderDecoder'
    return part


def _without_paths(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _without_paths(value) for key, value in node.items()
                if key not in FORBIDDEN_KEYS}
    if isinstance(node, list | tuple):
        return type(node)(_without_paths(item) for item in node)
    return node


def _normalisation(cfg: Config, bands: tuple[str, ...] | None) -> dict[str, Any]:
    """Mean and standard deviation in the order in which the network takes the bands."""
    section = cfg.model.get('data_preprocessor') or {}
    if section.get('mean') is None or section.get('std') is None:
        raise ConfigError('model.data_preprocessor sets no mean and std, so it is not known what '
                          'the model takes. Add them as they were in training.')
    # images are read as BGR; mean and std follow the conversion
    if bands is None:
        bands = ('R', 'G', 'B') if section.get('bgr_to_rgb') else ('B', 'G', 'R')
    return {'mean': list(section['mean']), 'std': list(section['std']), 'bands': bands}


def _crop(cfg: Config) -> list[int]:
    crop = cfg.get('crop_size') or cfg.model.get('test_cfg', {}).get('crop_size')
    if crop is None:
        raise ConfigError('the config names no crop_size, so the size of a tile is not known. Add '
                          'crop_size = (rows, columns) at its top level.')
    return [int(side) for side in crop]


def _overlap(model: Mapping[str, Any]) -> int | None:
    """The least overlap of windows in testing, in px; None where whole images were tested."""
    test_cfg = model.get('test_cfg') or {}
    if test_cfg.get('mode') != 'slide':
        return None
    return min(crop - step for crop, step in zip(
        test_cfg['crop_size'], test_cfg['stride'], strict=True))


def _output(head: nn.Module) -> str:
    """Heads of MMSegmentation give logits, mask classification gives scores."""
    from mmseg.models.decode_heads.decode_head import BaseDecodeHead  # after ours silenced mmseg

    return 'logits' if isinstance(head, BaseDecodeHead) else 'scores'


def _palette(cfg: Config, number: int) -> list[list[int]]:
    """Colours of the data sets, or hues as far apart as they can be."""
    for _, metainfo in metainfos(cfg):
        palette = metainfo.get('palette')
        if palette and len(palette) == number:
            return [list(map(int, color)) for color in palette]
    return hues(number)


def _domains(cfg: Config) -> list[str]:
    """What the model was trained on."""
    return list(dict.fromkeys(dataset_domains(cfg, 'train')))


def _metrics(report: Path) -> dict[str, Any]:
    """The summary of a test, by domain, in percent; empty where none was run."""
    if not report.is_file():
        return {}
    content = json.loads(report.read_text(encoding='utf-8'))
    rows = {**content.get('domains', {}), 'mean over unseen': content.get('mean_over_unseen') or {}}
    return {name: {key: row[key] for key in NAMES if key in row} for name, row in rows.items()}


def _provenance(config: Path, checkpoint: Path, model: nn.Module) -> dict[str, Any]:
    return {
        'config': {'name': config.name, 'sha256': file_sha256(config)},
        'checkpoint': {'name': checkpoint.name, 'sha256': file_sha256(checkpoint)},
        'backbone': getattr(model, 'backbone_provenance', None),
        'crossearth': __version__, 'torch': torch.__version__, 'date': str(date.today())}
