# SPDX-License-Identifier: Apache-2.0
"""mmengine's runner with a resume that checks files, loads strictly and restores everything."""

from pathlib import Path
from typing import Any

from mmengine import dist
from mmengine.runner import Runner

from crossearth import compat
from crossearth.errors import CheckpointError

from . import training_state
from .checkpoint_files import newest_valid

__all__ = ['CrossEarthRunner']


class CrossEarthRunner(Runner):
    """Runner whose `resume=True` means: from the newest valid checkpoint of the work folder.

    Checkpoints are written by `SafeCheckpointHook`.

    Args:
        *args: As for mmengine's `Runner`.
        **kwargs: As for mmengine's `Runner`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        super()._init_model_weights()

    def _init_model_weights(self) -> None:
        """Do nothing when training begins: by then, weights have been loaded."""

    def load_or_resume(self) -> None:
        """Resume if the config says so.

        Raises:
            CheckpointError: No checkpoint is valid, or it does not fit.
        """
        if self._resume and not self._has_loaded:
            path = self._newest_valid()
            self.resume(str(path))

    def resume(self, filename: str, *_: Any, **__: Any) -> None:
        """Put the training into the state of a checkpoint.

        Args:
            filename: A checkpoint of `SafeCheckpointHook`.

        Raises:
            CheckpointError: It is damaged or does not fit.
        """
        checkpoint = compat.load_checkpoint(filename, map_location='cpu')
        training_state.restore(self, checkpoint)
        self._has_loaded = True
        self.logger.info(
            f'Resumed from {filename}: {self.iter} of {self.max_iters} iterations and '
            f"{checkpoint['sampler']['position']} samples are done.")

    def _newest_valid(self) -> Path:
        """Let the main process look, and all others take its word or its error."""
        answer: list[Path | CheckpointError | None] = [None]
        if dist.is_main_process():
            try:
                answer[0] = newest_valid(self.work_dir, self.logger.warning)
            except CheckpointError as error:
                answer[0] = error
        dist.broadcast_object_list(answer)
        if isinstance(answer[0], Path):
            return answer[0]
        raise answer[0] or CheckpointError(
            f'there is no checkpoint iter_<n>.pth in {self.work_dir} to resume from. Give the '
            '--work-dir of the run that was interrupted.')
