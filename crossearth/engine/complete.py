# SPDX-License-Identifier: Apache-2.0
"""Fill in what follows from the data: the number of classes and every size that is the crop's.

A config names its crop once (`crop_size`) and its classes never; both were edited by hand, and
wrongly, in users' reports of the published configs.
"""

from typing import Any

from mmengine.config import Config

from crossearth.registry import MODELS

from .config_check import data_classes, keyword_arguments

__all__ = ['complete_config', 'dataset_classes']


def complete_config(cfg: Config) -> Config:
    """Fill the gaps of `model` in place; what a config sets itself stays.

    Args:
        cfg: A config with `crop_size` (rows, columns) in px and, for training or testing, data
            loaders.

    Returns:
        The same config.
    """
    model = cfg.model
    classes = dataset_classes(cfg)
    if classes:
        _default(model.decode_head, 'num_classes', len(classes))
    if crop := cfg.get('crop_size'):
        crop = tuple(crop)
        backbone = MODELS.get(model.backbone.type)
        if backbone and 'img_size' in (keyword_arguments(backbone) or ()):
            _default(model.backbone, 'img_size', crop)
        _default(model.data_preprocessor, 'size', crop)
        if model.test_cfg.mode == 'slide':
            _default(model.test_cfg, 'crop_size', crop)
            # two thirds, rounded as the published configs do: 512 -> 341, 1024 -> 683
            _default(model.test_cfg, 'stride', tuple(round(side * 2 / 3) for side in crop))
    return cfg


def dataset_classes(cfg: Config) -> tuple[str, ...]:
    """Names of the classes of the config's first data set; empty if it names none."""
    return next((classes for _, classes in data_classes(cfg)), ())


def _default(section: Any, key: str, value: Any) -> None:
    if section.get(key) is None:
        section[key] = value
