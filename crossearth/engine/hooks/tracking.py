# SPDX-License-Identifier: Apache-2.0
"""What a training logs besides losses and learning rate, and the trackers that it logs to."""

import importlib.util
import sys
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.visualization import Visualizer

from crossearth.errors import MissingDependencyError
from crossearth.registry import HOOKS, VISUALIZERS

__all__ = ['TRACKERS', 'SpeedHook', 'TrackingVisualizer']

TRACKERS = ('TensorboardVisBackend', 'WandbVisBackend', 'MLflowVisBackend')
"""Backends of mmengine that show pictures too."""


@HOOKS.register_module()
class SpeedHook(Hook):
    """Log `throughput`, images per second of all processes, and on a CPU `memory`.

    The throughput is that of the last iterations, as many as the log processor's window; memory is
    the most that the process ever held, in MB. With a GPU mmengine itself logs the GPU's.
    """

    priority = 'NORMAL'  # after the timer, which stands before it in default_hooks

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Hand the numbers of this iteration to the logger."""
        hub = runner.message_hub
        seconds = hub.get_scalar('train/time').mean(runner.log_processor.window_size)
        images = len(data_batch['inputs']) * get_world_size()
        hub.update_scalar('train/throughput', images / seconds)
        if not torch.cuda.is_available() and (memory := _peak_memory()):
            hub.update_scalar('train/memory', memory)


def _peak_memory() -> float | None:
    """The most memory that this process ever held in MB; None where the system does not tell."""
    if sys.platform == 'win32':
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == 'darwin' else 2**10)  # bytes there, kB elsewhere


@VISUALIZERS.register_module()
class TrackingVisualizer(Visualizer):
    """Write config and scalars to files and trackers.

    TensorBoard is left out where it is not installed; any other backend must be.

    Args:
        name: Name of the visualiser.
        vis_backends: Configs of mmengine's backends.
        **kwargs: As for mmengine's `Visualizer`.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        vis_backends: Sequence[dict[str, Any]] = (),
        **kwargs: Any,
    ) -> None:
        if importlib.util.find_spec('tensorboard') is None:
            vis_backends = [
                backend for backend in vis_backends if backend['type'] != 'TensorboardVisBackend']
        super().__init__(name, vis_backends=list(vis_backends), **kwargs)

    def add_config(self, config: Config, **kwargs: Any) -> None:
        """Record the config of the run: the first thing that a runner does.

        Raises:
            MissingDependencyError: A backend's package is not installed.
        """
        try:
            super().add_config(config, **kwargs)
        except ImportError as error:
            raise MissingDependencyError(
                f'visualizer.vis_backends names a tracker that is not installed. {error}, or take '
                'its line out of the config.') from None
