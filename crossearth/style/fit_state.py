# SPDX-License-Identifier: Apache-2.0
"""How far a fit of style statistics has come, in a file that it can go on from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from crossearth.errors import ConfigError
from crossearth.weight_files import save_tensors

from .moments import RunningMoments

__all__ = ['FitState']


@dataclass
class FitState:
    """Moments of the embeddings so far, and the log of the files that were skipped.

    Args:
        path: File of the state.
        log: File of the skipped images.
        job: What the state is good for: the same images in the same order, the same predictor.
        moments: None before the first embedding.
        done: Number of files taken, readable or not.
        skipped: Number of those that were not.
    """

    path: Path
    log: Path
    job: dict[str, object]
    moments: RunningMoments | None = None
    done: int = 0
    skipped: int = 0
    _unlogged: list[str] = field(default_factory=list)

    @classmethod
    def resume(cls, output: Path, job: dict[str, object]) -> 'FitState':
        """Read the state beside `output`, or begin.

        Raises:
            ConfigError: The state is of another job, or damaged.
        """
        state = cls(output.with_name(f'{output.name}.state'),
                    output.with_name(f'{output.name}.skipped.txt'), job)
        if state.path.exists():
            state._restore()
        else:
            state.log.unlink(missing_ok=True)
        return state

    def _restore(self) -> None:
        try:
            with safe_open(self.path, 'pt') as file:
                saved = json.loads(file.metadata()['provenance'])
                self.moments = RunningMoments.restore(
                    saved['count'], file.get_tensor('mean'), file.get_tensor('scatter'))
        except (SafetensorError, ValueError, LookupError, TypeError) as error:
            raise ConfigError(f'{self.path} is damaged ({error}). Delete it to begin again.'
                              ) from error
        if saved['job'] != self.job:
            raise ConfigError(
                f'{self.path} was left by a run on other images, with another limit, or with '
                'another predictor. Give its arguments again to go on with that run, or delete the '
                'file to begin afresh.')
        self.done, self.skipped = saved['done'], saved['skipped']
        if self.log.exists():
            # what was logged after the last save is read again, and would be listed twice
            with self.log.open('r+b') as log:
                log.truncate(saved['log_bytes'])

    def add(self, files: int, embeddings: Tensor | None, failures: Sequence[str]) -> None:
        """Take in a batch.

        Args:
            files: Number of its files.
            embeddings: (N, D) of those that could be read; None where none could.
            failures: A line for each of the others.
        """
        if embeddings is not None:
            if self.moments is None:
                self.moments = RunningMoments(embeddings.shape[1])
            self.moments.update(embeddings)
        self.done += files
        self.skipped += len(failures)
        self._unlogged += failures

    def flush_log(self) -> int:
        """Append the new failures to the log.

        Returns:
            Its size in bytes.
        """
        if self._unlogged:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open('a', encoding='utf-8', errors='surrogateescape') as log:
                log.writelines(f'{line}\n' for line in self._unlogged)
            self._unlogged.clear()
        return self.log.stat().st_size if self.log.exists() else 0

    def save(self) -> None:
        """Write the log, then the state that knows its size."""
        log_bytes = self.flush_log()
        if self.moments is None:
            return
        tensors = {'mean': self.moments.mean, 'scatter': self.moments.scatter}
        save_tensors(tensors, self.path, {
            'job': self.job, 'count': self.moments.count, 'done': self.done,
            'skipped': self.skipped, 'log_bytes': log_bytes})
