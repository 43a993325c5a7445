# SPDX-License-Identifier: Apache-2.0
"""A loss that is not finite costs one step, not the run; three in a row end it."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine import dist
from mmengine.optim import OptimWrapper
from torch import Tensor

from crossearth.errors import TrainingError
from crossearth.registry import OPTIM_WRAPPERS

__all__ = ['MAX_SKIPPED', 'GuardedOptimWrapper', 'report_skipped']

MAX_SKIPPED = 3


@OPTIM_WRAPPERS.register_module(name='OptimWrapper')
class GuardedOptimWrapper(OptimWrapper):
    """Skip the step of a loss that is NaN or infinite, on all ranks if it is so on one.

    Takes the place of mmengine's `OptimWrapper`. With gradient accumulation the whole group of
    iterations is skipped. Costs one transfer to the host an iteration; the ranks' vote about it
    also carries the request to stop, so that all ranks stop after the same iteration.

    Args:
        **kwargs: As for mmengine's `OptimWrapper`.

    Attributes:
        skipped: Whether the last iteration was skipped.
        skipped_in_a_row: How many were, up to and with the last one.
        stop_signal: Number of the signal that asks to stop: of this rank before, of any rank
            after an iteration.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.skipped = False
        self.skipped_in_a_row = 0
        self.stop_signal = 0
        self._spoiled = False  # one of the losses that are accumulated was not finite

    def update_params(
        self,
        loss: Tensor,
        step_kwargs: dict | None = None,
        zero_kwargs: dict | None = None,
    ) -> None:
        """Back-propagate and step, unless the loss is not finite.

        Args:
            loss: Scalar loss.
            step_kwargs: Arguments of the optimiser's `step`.
            zero_kwargs: Arguments of the optimiser's `zero_grad`.
        """
        self.skipped = not self._all_finite(loss)
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if self.skipped else 0
        self._spoiled |= self.skipped
        if not self._spoiled:
            super().update_params(loss, step_kwargs, zero_kwargs)
            return
        self._inner_count += 1
        if self.should_update():
            # The rest of the group is dropped, too: under DDP only its last backward pass
            # exchanges gradients.
            self.zero_grad(**(zero_kwargs or {}))
            self._spoiled = False

    def _all_finite(self, loss: Tensor) -> bool:
        bad = loss.detach().isfinite().logical_not().long().reshape(1)
        if not dist.is_distributed():
            return not bad.item()
        votes = torch.cat([bad, bad.new_tensor([self.stop_signal])])
        dist.all_reduce(votes, 'max')
        any_bad, self.stop_signal = votes.tolist()
        return not any_bad


def report_skipped(
    runner: Any, losses: Mapping[str, Tensor], batch: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Say on which losses and images a step was skipped; to be called on all ranks.

    Args:
        runner: The runner.
        losses: Logged scalars by name.
        batch: The batch, with `data_samples`.

    Returns:
        The finite ones of `losses`, so that the means in the log stay numbers.

    Raises:
        TrainingError: It was the third iteration in a row.
    """
    losses = {name: value.detach() for name, value in losses.items()}
    finite = {name: value for name, value in losses.items() if math.isfinite(value)}
    names = [f'{name} = {float(value)}' for name, value in losses.items() if name not in finite]
    images = [str(sample.metainfo.get('img_path', 'without a path'))
              for sample in batch.get('data_samples') or ()]
    found = [rank for rank in dist.all_gather_object((names, images)) if rank[0]]
    what = '; '.join(f"{', '.join(names)} on {', '.join(images)}" for names, images in found)
    hub = runner.message_hub
    total = hub.get_info('skipped_steps', 0) + 1
    hub.update_info('skipped_steps', total)
    in_a_row = runner.optim_wrapper.skipped_in_a_row
    if in_a_row >= MAX_SKIPPED:
        raise TrainingError(
            f'iteration {runner.iter + 1}: the loss was not finite in {in_a_row} iterations in a '
            f'row, at last {what}. None of them changed the model, and no checkpoint was written '
            'since. Look at these images and their labels, or lower the learning rate '
            '(optim_wrapper.optimizer.lr), and go on with --resume.')
    runner.logger.warning(
        f'Iteration {runner.iter + 1} is skipped, its loss is not finite: {what}. '
        f'Skipped so far: {total}.')
    return finite
