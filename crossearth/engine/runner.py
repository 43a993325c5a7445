# SPDX-License-Identifier: Apache-2.0
"""From a checked config to a runner whose frozen backbone holds its pre-trained weights.

mmengine's `Runner.test` never initialises a model, so a checkpoint of adapters only was tested on
a random backbone by users of the published code. Here the backbone's file is loaded, or its
absence reported, before anything runs.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from crossearth import compat
from crossearth.datasets import check_dataset
from crossearth.errors import CheckpointError, CrossEarthError
from crossearth.registry import MODELS
from crossearth.style.statistics import warn_if_target
from crossearth.weights import checkpoints, find_weights

from .checkpoint_files import verify
from .complete import complete_config
from .config import check_classes
from .hooks import check_backbone
from .resuming import CrossEarthRunner

__all__ = ['build_runner', 'load_checkpoint', 'load_pretrained', 'preflight']

TRAIN_LOADERS = ('train_dataloader', 'val_dataloader')
TEST_LOADERS = ('test_dataloader',)


def build_runner(
    cfg: Config, *, launcher: str = 'none', checkpoint: str | Path | None = None,
    allow_partial: bool = False, trust: bool = False,
) -> Runner:
    """Build a runner that is ready to train, or to test a checkpoint.

    Args:
        cfg: A config; gaps that follow from its data are filled in place.
        launcher: How processes are started, as mmengine names it.
        checkpoint: The checkpoint to test; None to train.
        allow_partial: Load what fits of the checkpoint, or of the config's `load_from`.
        trust: Load it even if it could run code.

    Returns:
        The runner.

    Raises:
        CrossEarthError: The config contradicts itself, or data, weights or the checkpoint are
            missing or do not fit.
    """
    compat.apply()
    complete_config(cfg)
    check_classes(cfg)
    preflight(cfg, TRAIN_LOADERS if checkpoint is None else TEST_LOADERS, checkpoint)
    compat.init_distributed(launcher, cfg)
    # loaded by us below: mmengine would only warn about mismatches
    load_from, cfg.load_from = cfg.get('load_from'), None
    if checkpoint is not None:
        cfg.resume = False
        _drop_training_parts(cfg.model)
    runner = CrossEarthRunner.from_cfg(cfg)
    start = checkpoint or (None if cfg.get('resume') else load_from)
    if start:
        load_checkpoint(runner.model, start, allow_partial=allow_partial, trust=trust)
    else:
        load_pretrained(runner.model)
    return runner


def preflight(
    cfg: Config, loaders: Sequence[str], checkpoint: str | Path | None = None
) -> None:
    """Name everything that is missing on this machine at once, before any model is built.

    Args:
        cfg: A completed config.
        loaders: The data loaders that will run.
        checkpoint: The checkpoint that will be tested; None to train.

    Raises:
        CrossEarthError: Data, weights or the checkpoint are missing.
    """
    problems: list[CrossEarthError] = []
    for loader in loaders:
        dataset = (cfg.get(loader) or {}).get('dataset', {})
        problems += _complaints(check_dataset, dataset) if dataset else []
    if checkpoint is not None and not Path(checkpoint).is_file():
        problems.append(CheckpointError(
            f'there is no checkpoint {checkpoint}. Give the .pth file of a finished training, '
            f'e.g. work_dirs/<config>/iter_<n>.pth.'))
    weights = cfg.model.backbone.get('weights')
    if weights not in (None, 'random') and checkpoint is None:
        problems += _complaints(find_weights, weights)
    if cfg.model.get('style') and checkpoint is None:
        problems += _complaints(_check_style, cfg)
    unique = list(dict.fromkeys(str(problem) for problem in problems))
    if unique:
        raise type(problems[0])('\n'.join(unique))


def _drop_training_parts(model: dict[str, Any]) -> None:
    """Leave out what only training needs: it is neither built nor loaded for a test."""
    for part in ('mim_head', 'style'):
        if part in model:
            model[part] = None


def _check_style(cfg: Config) -> None:
    """Load style nets and statistics, and warn when the latter come from an unseen domain."""
    style = MODELS.build({'type': 'StyleInjection', **cfg.model.style})
    if style.kind != 'none':
        tested = (cfg.get('test_dataloader') or {}).get('dataset', {}).get('domains') or ()
        source = (cfg.get('test_evaluator') or {}).get('source') or ()
        warn_if_target(style.load()[1], set(tested) - set(source))


def _complaints(check: Callable[[Any], object], value: Any) -> list[CrossEarthError]:
    try:
        check(value)
    except CrossEarthError as error:
        return [error]
    return []


def load_pretrained(model: Any) -> None:
    """Load the weights that the backbone's config names.

    Args:
        model: A segmentor, wrapped or not; other backbones than ours initialise themselves.

    Raises:
        CrossEarthError: The file is missing or does not fill the backbone.
    """
    checkpoints.load_pretrained(_unwrap(model))


def load_checkpoint(
    model: Any, path: str | Path, *, allow_partial: bool = False, trust: bool = False
) -> dict[str, Any]:
    """Load a checkpoint completely; the backbone it leaves out comes from its own file.

    Args:
        model: A segmentor, wrapped or not.
        path: A checkpoint of ours, or a published one.
        allow_partial: Load what fits, and report the rest instead of refusing it.
        trust: Load the file even if it could run code.

    Returns:
        The checkpoint's `meta`.

    Raises:
        CheckpointError: Keys or shapes differ, it was trained on another backbone, or its checksum
            does not fit.
    """
    model = _unwrap(model)
    verify(path)
    loaded = checkpoints.load_segmentor(model, path, allow_partial=allow_partial, trust=trust)
    if not loaded.has_backbone:
        check_backbone({'meta': loaded.meta}, getattr(model, 'backbone_provenance', None))
    return loaded.meta


def _unwrap(model: Any) -> Any:
    return getattr(model, 'module', model)

