# SPDX-License-Identifier: Apache-2.0
"""Requests to stop: SIGTERM, and SIGUSR1, which Slurm sends before the time of a job is over."""

import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ['StopSignals', 'ignore_in_workers']

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopSignals:
    """Context in which a request to stop is noted instead of carried out.

    Attributes:
        received: Number of the last signal, 0 if there was none.
    """

    def __init__(self) -> None:
        self.received = 0
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> 'StopSignals':
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            self._former = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: object) -> None:
        self.received = number


def ignore_in_workers(init: Callable[[int], Any] | None) -> Callable[[int], Any]:
    """Extend the `worker_init_fn` of a data loader so that its workers outlive a request to stop.

    Slurm and Ctrl-C address all processes of a job, and without workers the iteration in progress
    could not be finished. The main process ends them when it ends.

    Args:
        init: The function so far.
    """
    return partial(_init_worker, init)


def _init_worker(init: Callable[[int], Any] | None, worker: int) -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if init is not None:
        init(worker)
