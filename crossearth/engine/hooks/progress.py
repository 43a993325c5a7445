# SPDX-License-Identifier: Apache-2.0
"""A progress bar with the remaining time on a terminal; plain log lines in a pipe."""

import logging
import sys
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from rich.console import Console
from rich.file_proxy import FileProxy
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from crossearth.registry import HOOKS

__all__ = ['ProgressHook']


@HOOKS.register_module()
class ProgressHook(Hook):
    """Show training and test progress of rank 0.

    Args:
        console: Where to draw; standard output by default. Nothing is drawn where it is no
            terminal.
    """

    priority = 'VERY_LOW'

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stdout)
        self.progress: Progress | None = None
        self.task: Any = None

    def _start(self, runner: Any, name: str, total: int, done: int = 0) -> None:
        if not (self.console.is_terminal and is_main_process()):
            return
        self.progress = Progress(
            TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
            TimeRemainingColumn(), TextColumn('{task.fields[note]}'), console=self.console)
        self.task = self.progress.add_task(name, total=total, completed=done, note='')
        _log_above_the_bar(runner.logger, self.console)
        self.progress.start()

    def _stop(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None

    def _advance(self, note: str = '') -> None:
        if self.progress is not None:
            self.progress.update(self.task, advance=1, note=note)

    def before_train(self, runner: Any) -> None:
        """Draw the bar of the training."""
        self._start(runner, 'train', runner.max_iters, runner.iter)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Advance the bar and show the loss."""
        loss = (outputs or {}).get('loss')
        self._advance('' if loss is None or self.progress is None else f'loss {float(loss):.3f}')

    def after_train(self, runner: Any) -> None:
        """Remove the bar."""
        self._stop()

    def before_test_epoch(self, runner: Any) -> None:
        """Draw the bar of the test."""
        self._start(runner, 'test', len(runner.test_dataloader))

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Advance the bar."""
        self._advance()

    def after_test_epoch(self, runner: Any, metrics: Any = None) -> None:
        """Remove the bar."""
        self._stop()


def _log_above_the_bar(logger: logging.Logger, console: Console) -> None:
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(
                handler, logging.FileHandler) and not isinstance(handler.stream, FileProxy):
            handler.setStream(FileProxy(console, handler.stream))
