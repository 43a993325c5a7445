# SPDX-License-Identifier: Apache-2.0
"""Everything that a training needs to go on exactly, as tensors and plain values.

mmengine writes its log buffers as NumPy arrays and objects of its own, which torch's safe loader
refuses. Here a checkpoint holds only what `torch.load(weights_only=True)` reads by itself.

Keys of a checkpoint: `meta`, `state_dict`, `optimizer`, `param_schedulers`, `message_hub` (windows
of the log), `rng` (one state for each rank), `sampler`; and `raw_state_dict` where hooks replaced
parameters in `state_dict` by their averages.
"""

import time
from collections.abc import Mapping
from typing import Any

import mmengine
import numpy as np
import torch
from mmengine import dist
from mmengine.logging import HistoryBuffer, MessageHub

from crossearth import __version__
from crossearth.errors import CheckpointError

__all__ = ['collect', 'plain', 'restore']

KEYS = frozenset({
    'meta', 'state_dict', 'optimizer', 'param_schedulers', 'message_hub', 'rng', 'sampler'})


def collect(runner: Any, iteration: int, rng_states: list[dict[str, Any]]) -> dict[str, Any]:
    """Make the content of a checkpoint.

    Args:
        runner: A runner in training.
        iteration: How many iterations are done.
        rng_states: `rng.capture()` of every rank.
    """
    loop = runner.train_loop
    meta = {
        'iter': iteration, 'epoch': runner.epoch, 'seed': runner.seed,
        'world_size': dist.get_world_size(), 'cfg': runner.cfg.pretty_text,
        'dataset_meta': getattr(loop.dataloader.dataset, 'metainfo', None),
        'experiment_name': runner.experiment_name, 'crossearth_version': __version__,
        'mmengine_version': mmengine.__version__, 'time': time.strftime('%Y%m%d_%H%M%S')}
    content = {
        'meta': meta,
        'state_dict': _unwrap(runner.model).state_dict(),
        'optimizer': runner.optim_wrapper.state_dict(),
        'param_schedulers': [s.state_dict() for s in runner.param_schedulers or ()],
        'message_hub': _log_state(runner.message_hub),
        'rng': rng_states,
        'sampler': loop.sampler.state_dict(loop.position(iteration))}
    runner.call_hook('before_save_checkpoint', checkpoint=content)
    return plain(content)


def restore(runner: Any, checkpoint: dict[str, Any]) -> None:
    """Put a training into the state of a checkpoint, but for the random number generators.

    The loop sets those, right before the first iteration.

    Args:
        runner: A runner whose training begins.
        checkpoint: What `collect` made, loaded to the CPU.

    Raises:
        CheckpointError: It is no checkpoint of a training, or does not fit model or optimiser.
    """
    missing = KEYS - set(checkpoint)
    if missing:
        raise CheckpointError(
            f"the checkpoint lacks {', '.join(sorted(missing))}, so a training cannot go on from "
            'it. Give it as load_from to start a new training with its weights.')
    runner.call_hook('after_load_checkpoint', checkpoint=checkpoint)
    weights = {**checkpoint['state_dict'], **checkpoint.get('raw_state_dict', {})}
    try:
        _unwrap(runner.model).load_state_dict(weights, strict=True)
        runner.optim_wrapper.load_state_dict(checkpoint['optimizer'])
    except (RuntimeError, ValueError, KeyError) as error:
        details = ' '.join(str(error).split())[:600]
        raise CheckpointError(
            f'the checkpoint does not fit the model or optimiser of the config: {details}. Resume '
            'with the config that began the training (a copy lies in its work directory).'
        ) from error
    for scheduler, state in zip(
            runner.param_schedulers or (), checkpoint['param_schedulers'], strict=False):
        scheduler.load_state_dict(state)
    _restore_log(runner.message_hub, checkpoint['message_hub'])
    runner.train_loop.go_on_from(checkpoint)


def _log_state(hub: MessageHub) -> dict[str, Any]:
    state = hub.state_dict()
    scalars = {}
    for name, buffer in state['log_scalars'].items():
        values, counts = buffer.data
        scalars[name] = {'values': torch.from_numpy(values.astype(np.float64)),
                         'counts': torch.from_numpy(counts.astype(np.int64)),
                         'max_length': buffer.max_length}
    notes = {key: note for key, note in state['runtime_info'].items() if _is_plain(note)}
    return {'log_scalars': scalars, 'runtime_info': notes, 'resumed_keys': state['resumed_keys']}


def _is_plain(value: Any) -> bool:
    """Whether a note of some hook can be kept; what cannot is no part of the training's state."""
    try:
        plain(value)
    except CheckpointError:
        return False
    return True


def _restore_log(hub: MessageHub, state: dict[str, Any]) -> None:
    buffers = {
        name: HistoryBuffer(s['values'].numpy(), s['counts'].numpy(), s['max_length'])
        for name, s in state['log_scalars'].items()}
    known = {key: resumed for key, resumed in state['resumed_keys'].items()
             if key in buffers or key in state['runtime_info']}
    hub.load_state_dict({**state, 'log_scalars': buffers, 'resumed_keys': known})


def plain(value: Any) -> Any:
    """Turn NumPy values into tensors and Python numbers, and move tensors to the CPU.

    Args:
        value: Nested dicts, lists and tuples of tensors, NumPy values and plain values.

    Raises:
        CheckpointError: It holds something else.
    """
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return (tuple if isinstance(value, tuple) else list)(plain(item) for item in value)
    for kind in (bool, int, float, str):  # subclasses, such as enumerations of strings
        if isinstance(value, kind):
            return kind(value)
    raise CheckpointError(
        f'a checkpoint cannot hold {value!r} of type {type(value).__name__}: only tensors and '
        'plain values can be loaded safely. The hook that put it there must convert it.')


def _unwrap(model: Any) -> Any:
    return getattr(model, 'module', model)
