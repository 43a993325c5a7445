# SPDX-License-Identifier: Apache-2.0
"""The training loop: goes on exactly where another run stopped, and stops when it is asked to."""

from collections.abc import Mapping
from typing import Any

from mmengine import dist
from mmengine.runner import IterBasedTrainLoop
from torch import nn

from crossearth.errors import ConfigError
from crossearth.registry import LOOPS

from . import rng
from .guard import report_skipped
from .sampler import InfiniteSampler
from .signals import StopSignals, ignore_in_workers

__all__ = ['ResumableTrainLoop']


@LOOPS.register_module()
class ResumableTrainLoop(IterBasedTrainLoop):
    """Iterations over endless data.

    A resumed run reads the samples that the interrupted one would have read next, and no others.
    The random number generators are set right before the first iteration, and validation does not
    touch them, so that the result is that of an uninterrupted run.

    Args:
        *args: As for mmengine's `IterBasedTrainLoop`.
        **kwargs: As for mmengine's `IterBasedTrainLoop`.

    Attributes:
        stop_signal: Number of the signal that asks the run to stop, 0 if there is none.

    Raises:
        ConfigError: The sampler is not ours, and so has no position.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sampler = self.dataloader.sampler
        if not isinstance(self.sampler, InfiniteSampler):
            raise ConfigError(
                f"train_dataloader.sampler is '{type(self.sampler).__name__}', which cannot go on "
                "from a position. Set it to dict(type='InfiniteSampler', shuffle=True).")
        self.dataloader.worker_init_fn = ignore_in_workers(self.dataloader.worker_init_fn)
        self.stop_signal = 0
        self._first = 0  # iteration at which this process began
        self._rng_state: dict[str, Any] | None = None

    @property
    def batch_of_all(self) -> int:
        """Samples of one iteration on all ranks together."""
        return int(self.dataloader.batch_size) * dist.get_world_size()

    def position(self, iteration: int) -> int:
        """Give the number of samples used before an iteration, on all ranks together."""
        position: int = self.sampler.start + (iteration - self._first) * self.batch_of_all
        return position

    def go_on_from(self, checkpoint: dict[str, Any]) -> None:
        """Begin at the iteration, sample and random state of a checkpoint.

        With another number of ranks, the sequence of samples goes on in batches of the new size,
        and the generators of each rank start from (seed, iteration, rank).

        Args:
            checkpoint: See `training_state`.
        """
        warn = self.runner.logger.warning
        iteration, world = checkpoint['meta']['iter'], checkpoint['meta']['world_size']
        self._iter = self._first = iteration
        self.sampler.load_state_dict(checkpoint['sampler'])
        if (size := checkpoint['sampler']['size']) != self.sampler.size:
            warn(f'The training data had {size} samples when the checkpoint was saved and have '
                 f'{self.sampler.size} now: their order is another one.')
        if world == dist.get_world_size():
            self._rng_state = checkpoint['rng'][dist.get_rank()]
            return
        rng.reseed(self.sampler.seed, iteration, dist.get_rank())
        self._rng_state = rng.capture()
        warn(f'The checkpoint is of {world} processes, this run has {dist.get_world_size()}. '
             f'It goes on with sample {self.sampler.start} in batches of {self.batch_of_all} on '
             'all processes together, with fresh random numbers: its result is not that of an '
             'uninterrupted run. The learning rate is not adapted.')

    def run(self) -> nn.Module:
        """Train.

        Raises:
            TrainingError: The loss was not finite three times in a row.
            SystemExit: With 128 + its number, a signal asked the run to stop.
        """
        with StopSignals() as self._signals:
            self.runner.call_hook('before_train')
            self.runner.call_hook('before_train_epoch')
            batches = iter(self.dataloader)  # draws a random number
            if self._rng_state is not None:
                rng.restore(self._rng_state)
            self.runner.model.train()
            while self._iter < self._max_iters and not self.stop_training:
                self.run_iter(next(batches))
                if self.stop_signal and self.at_step():
                    break
                self._validate_if_due()
            self.runner.call_hook('after_train_epoch')
            self.runner.call_hook('after_train')
        if self.stop_signal:
            self.runner.logger.warning(
                f'Stopped by signal {self.stop_signal} after iteration {self._iter}; --resume goes '
                'on from there.')
            raise SystemExit(128 + self.stop_signal)
        return self.runner.model

    def at_step(self) -> bool:
        """Whether no gradient is being accumulated over iterations."""
        return bool(self.runner.optim_wrapper.should_update())

    def run_iter(self, data_batch: Mapping[str, Any]) -> None:
        """Train on a batch."""
        optim_wrapper = self.runner.optim_wrapper
        self.runner.call_hook('before_train_iter', batch_idx=self._iter, data_batch=data_batch)
        optim_wrapper.stop_signal = self._signals.received
        outputs = self.runner.model.train_step(data_batch, optim_wrapper=optim_wrapper)
        # several ranks stop after the same iteration: their vote has been taken with the loss
        self.stop_signal = (optim_wrapper.stop_signal if dist.is_distributed()
                            else self._signals.received)
        if getattr(optim_wrapper, 'skipped', False):
            outputs = report_skipped(self.runner, outputs, data_batch)
        self.runner.call_hook(
            'after_train_iter', batch_idx=self._iter, data_batch=data_batch, outputs=outputs)
        self._iter += 1

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        if self.runner.val_loop is not None and self._iter >= self.val_begin and due:
            with rng.preserved():
                self.runner.val_loop.run()
            self.runner.model.train()
