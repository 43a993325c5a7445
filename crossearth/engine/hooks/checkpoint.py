# SPDX-License-Identifier: Apache-2.0
"""Save checkpoints so that no crash, full disk or bad step loses the run."""

from pathlib import Path
from typing import Any

import torch
from mmengine import dist
from mmengine.hooks import Hook

from crossearth.errors import CheckpointError, ConfigError, CrossEarthError, TrainingError
from crossearth.registry import HOOKS

from .. import rng, training_state
from ..checkpoint_files import point_to, prune, remove_orphans, save_checkpoint, set_aside
from ..loop import ResumableTrainLoop

__all__ = ['MAX_FAILURES', 'SafeCheckpointHook']

MAX_FAILURES = 3


@HOOKS.register_module()
class SafeCheckpointHook(Hook):
    """Write `iter_<n>.pth` every few iterations, after the last one, and when asked to stop.

    The main process writes; see `checkpoint_files` for how. A checkpoint that cannot be written is
    reported and the training goes on, until three in a row failed. A state with weights that are
    not finite is never saved, and none while losses are not finite.

    Args:
        interval: Iterations between two checkpoints.
        max_keep_ckpts: How many to keep; all if not positive.
    """

    priority = 'LOWEST'  # what other hooks do to the state belongs into the checkpoint

    def __init__(self, interval: int = 2000, max_keep_ckpts: int = 3) -> None:
        self.interval = interval
        self.max_keep_ckpts = max_keep_ckpts
        self.failures = 0
        self._due = False

    def before_train(self, runner: Any) -> None:
        """Tidy the work folder.

        Raises:
            ConfigError: The loop cannot go on from a checkpoint.
        """
        if not isinstance(runner.train_loop, ResumableTrainLoop):
            raise ConfigError(
                f"train_cfg.type is '{type(runner.train_loop).__name__}', whose state cannot be "
                "saved whole. Set it to 'ResumableTrainLoop'.")
        if not dist.is_main_process():
            return
        for orphan in remove_orphans(runner.work_dir):
            runner.logger.info(f'Removed {orphan}, which a crashed run left behind.')
        for path in set_aside(runner.work_dir, runner.iter):
            runner.logger.warning(
                f'{path.name} is a checkpoint beyond the start of this run and was renamed: it is '
                'damaged, or of an earlier run.')

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save if it is due and the state can be resumed from; otherwise as soon as it can."""
        final = bool(runner.train_loop.stop_signal or self.is_last_train_iter(runner))
        self._due |= final or self.every_n_train_iters(runner, self.interval)
        skipping = getattr(runner.optim_wrapper, 'skipped_in_a_row', 0) > 0
        if not self._due or not runner.train_loop.at_step():
            return
        if skipping:
            if final:
                runner.logger.warning('No checkpoint is written, since the loss is not finite.')
            return
        self._due = False
        self._save(runner, final)

    def _save(self, runner: Any, final: bool) -> None:
        """Save on the main process and tell all whether it worked."""
        states = dist.all_gather_object(rng.capture())
        error: list[CrossEarthError | None] = [None]
        if dist.is_main_process():
            try:
                self._write(runner, states)
            except (CheckpointError, TrainingError) as problem:
                error[0] = problem
        dist.broadcast_object_list(error)
        if error[0] is None:
            self.failures = 0
            return
        self.failures += 1
        if final or self.failures >= MAX_FAILURES or isinstance(error[0], TrainingError):
            raise error[0]
        runner.logger.error(
            f'{error[0]} The training goes on; failed {self.failures} of {MAX_FAILURES} times.')

    def _write(self, runner: Any, rng_states: list[dict[str, Any]]) -> None:
        path = Path(runner.work_dir) / f'iter_{runner.iter + 1}.pth'
        content = training_state.collect(runner, runner.iter + 1, rng_states)
        _check_finite({**content['state_dict'], **content.get('raw_state_dict', {})}, path)
        save_checkpoint(content, path)
        point_to(path)
        prune(path, self.max_keep_ckpts)
        runner.logger.info(f'Saved {path}')


def _check_finite(weights: dict[str, torch.Tensor], path: Path) -> None:
    bad = [name for name, weight in weights.items() if not weight.isfinite().all()]
    if bad:
        raise TrainingError(
            f'{len(bad)} of {len(weights)} weights are no longer finite numbers, such as {bad[0]}, '
            f'so {path.name} is not written and the training stops. Go on with --resume from the '
            'checkpoint before, with a lower learning rate or with optim_wrapper.clip_grad.')
