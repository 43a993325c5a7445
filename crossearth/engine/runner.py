# SPDX-License-Identifier: Apache-2.0
"""From a checked config to a runner whose frozen backbone holds its pre-trained weights.

mmengine's `Runner.test` never initialises a model, so a checkpoint of adapters only was tested on
a random backbone by users of the published code. Here the backbone's file is loaded, or its
absence reported, before anything runs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner

from crossearth import compat
from crossearth.datasets import check_dataset
from crossearth.errors import CheckpointError, CrossEarthError
from crossearth.registry import MODELS
from crossearth.style.statistics import warn_if_target
from crossearth.weights import checkpoints, find_weights

from .checkpoint_files import list_checkpoints, verify
from .complete import complete_config, dataset_domains
from .config import check_classes
from .hooks import check_backbone
from .resuming import CrossEarthRunner
from .run_facts import checkpoint_facts, config_facts

__all__ = ['build_runner', 'evaluate_trained', 'load_checkpoint', 'load_pretrained', 'preflight']

TRAIN_LOADERS = ('train_dataloader', 'val_dataloader')
TEST_LOADER = 'test_dataloader'
TRAINING_PARTS = ('auxiliary_head', 'feature_distance', 'hallucination', 'mim_head', 'style')


def build_runner(
    cfg: Config,
    *,
    launcher: str = 'none',
    checkpoint: str | Path | None = None,
    test: bool = True,
    allow_partial: bool = False,
    trust: bool = False,
) -> Runner:
    """Build a runner that is ready to train, or to test a checkpoint.

    Args:
        cfg: A config; what follows from its data it need not say.
        launcher: How processes are started, as mmengine names it.
        checkpoint: The checkpoint to test; None to train.
        test: Whether the trained model will be tested, so that its test data must be there.
        allow_partial: Load what fits of the checkpoint, or of the config's `load_from`.
        trust: Load it even if it could run code.

    Returns:
        The runner.

    Raises:
        CrossEarthError: The config contradicts itself, or data, weights or the checkpoint are
            missing or do not fit.
    """
    compat.apply()
    cfg = complete_config(cfg)
    check_classes(cfg)
    preflight(cfg, checkpoint, test=test)
    compat.init_distributed(launcher, cfg)
    facts = config_facts(cfg)
    # loaded by us below: mmengine would only warn about mismatches
    load_from, cfg.load_from = cfg.get('load_from'), None
    if checkpoint is not None:
        cfg.resume = False
        _drop_training_parts(cfg.model)
    runner = CrossEarthRunner.from_cfg(cfg)
    start = checkpoint or (None if cfg.get('resume') else load_from)
    if start:
        meta = load_checkpoint(runner.model, start, allow_partial=allow_partial, trust=trust)
    else:
        load_pretrained(runner.model)
    if checkpoint is not None:
        facts |= checkpoint_facts(checkpoint, meta)
    _unwrap(runner.model).run_facts = facts
    return runner


def preflight(cfg: Config, checkpoint: str | Path | None = None, *, test: bool = True) -> None:
    """Name everything that is missing on this machine at once, before any model is built.

    Args:
        cfg: A completed config.
        checkpoint: The checkpoint that will be tested; None to train.
        test: Whether a training will be followed by a test.

    Raises:
        CrossEarthError: Data, weights or the checkpoint are missing.
    """
    problems: list[CrossEarthError] = []
    if checkpoint is None:
        problems += _training_problems(cfg)
    elif not Path(checkpoint).is_file():
        problems.append(CheckpointError(
            f'there is no checkpoint {checkpoint}. Give the .pth file of a finished training, '
            f'e.g. work_dirs/<folder>/<config>/iter_<n>.pth.'))
    messages = dict.fromkeys(map(str, problems))
    if test or checkpoint is not None:
        tested = [p for p in _data_problems(cfg, TEST_LOADER) if str(p) not in messages]
        messages |= dict.fromkeys(map(str, tested))
        if tested and checkpoint is None:
            messages['The last iteration is tested after the training, which needs the test data '
                     'too. To train without it, give --no-test.'] = None
        problems += tested
    if problems:
        raise type(problems[0])('\n'.join(messages))


def _training_problems(cfg: Config) -> list[CrossEarthError]:
    problems = [p for loader in TRAIN_LOADERS for p in _data_problems(cfg, loader)]
    weights = cfg.model.backbone.get('weights')
    if weights not in (None, 'random'):
        problems += _complaints(find_weights, weights)
    if cfg.model.get('style'):
        problems += _complaints(_check_style, cfg)
    return problems


def _data_problems(cfg: Config, loader: str) -> list[CrossEarthError]:
    dataset = (cfg.get(loader) or {}).get('dataset')
    return _complaints(check_dataset, dataset) if dataset else []


def _drop_training_parts(model: dict[str, Any]) -> None:
    """Leave out what only training needs: it is neither built nor loaded for a test."""
    for part in TRAINING_PARTS:
        if part in model:
            model[part] = None


def _check_style(cfg: Config) -> None:
    """Load style nets and statistics, and warn when the latter come from an unseen domain."""
    style = MODELS.build({'type': 'StyleInjection', **cfg.model.style})
    if style.kind != 'none':
        trained, tested = dataset_domains(cfg, 'train'), dataset_domains(cfg, 'test')
        warn_if_target(style.load()[1], set(tested) - set(trained))


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

    Returns:
        What the checkpoint tells about itself, its `meta`.

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


def evaluate_trained(runner: Runner) -> None:
    """Test the last iteration of a training that has just ended; its report names the checkpoint.

    Args:
        runner: A runner of `build_runner` after `train()`.
    """
    saved = list_checkpoints(runner.work_dir) if is_main_process() else []
    if saved:
        model = _unwrap(runner.model)
        model.run_facts |= checkpoint_facts(
            saved[0], {'seed': runner.seed, 'run': model.run_facts})
    runner.test()


def _unwrap(model: Any) -> Any:
    return getattr(model, 'module', model)

