# SPDX-License-Identifier: Apache-2.0
"""Uploads that wait, the one that is worked on, and the results of the last ones."""

import logging
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossearth.errors import CrossEarthError

__all__ = ['BusyError', 'Job', 'JobQueue', 'Tell', 'in_words']

KEPT = 20     # results
WAITING = 4   # uploads in and before work
FINISHED = ('done', 'failed')
OPTIONS = {'--bands': 'Bands', '--scale': 'Value range', '--gsd': 'Pixel size'}

Tell = Callable[[str, int, int], None]  # what is being done, parts done, their number or 0

logger = logging.getLogger(__name__)


class BusyError(CrossEarthError):
    """Too many uploads wait already."""


class StoppedError(Exception):
    """The server ends in the middle of a job."""


@dataclass
class Job:
    """One upload on its way to a map.

    Args:
        id: Secret: who knows it may see the result.
        name: Clean name of the upload.
        options: Fields of `SceneOptions`.
        folder: Of its files.
        upload: The raster.
        state: `receiving`, `queued`, `running`, `done` or `failed`.
        stage: What is being done, in words.
        done: Parts of the stage that are done.
        total: Their number; 0 where it is unknown.
        result: What the page shows.
        error: Why there is none, in words.
    """

    id: str
    name: str
    options: Mapping[str, Any]
    folder: Path
    upload: Path
    state: str = 'receiving'
    stage: str = ''
    done: int = 0
    total: int = 0
    result: Mapping[str, Any] | None = None
    error: str = ''


class JobQueue:
    """Work on one upload after the other, in a thread.

    Args:
        folder: Where each job gets a folder of a random name.
        work: Makes the result of a job, and tells how far it is.
        keep: Leave results in the folder when they are no longer shown and at the end.
    """

    def __init__(
        self, folder: Path, work: Callable[[Job, Tell], Mapping[str, Any]], *, keep: bool
    ) -> None:
        self.folder = folder
        self.work = work
        self.keep = keep
        self.jobs: dict[str, Job] = {}
        self.ending = threading.Event()
        self.pool = ThreadPoolExecutor(1, thread_name_prefix='job')

    def open(self, name: str, options: Mapping[str, Any]) -> Job:
        """Make place for an upload.

        Raises:
            BusyError: Too many wait.
        """
        unfinished = [job for job in list(self.jobs.values()) if job.state not in FINISHED]
        if len(unfinished) >= WAITING:
            raise BusyError(f'{WAITING} scenes are waiting already. Try again in a minute.')
        number = secrets.token_hex(16)
        folder = self.folder / number
        folder.mkdir(mode=0o700)
        job = Job(number, name, options, folder, folder / 'upload')
        self.jobs[number] = job
        return job

    def submit(self, job: Job) -> None:
        """Put a job whose upload is complete at the end of the queue."""
        job.state = 'queued'
        self.pool.submit(self._run, job)

    def find(self, number: str) -> Job | None:
        """The job of an id, if there is one."""
        return self.jobs.get(number) if re.fullmatch('[0-9a-f]{32}', number) else None

    def ahead(self, job: Job) -> int:
        """How many jobs come before one."""
        active = [other for other in list(self.jobs.values())
                  if other.state in ('queued', 'running')]
        return active.index(job) if job in active else 0

    def discard(self, job: Job) -> None:
        """Forget a job and remove its files."""
        self.jobs.pop(job.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)

    def close(self) -> None:
        """Stop; remove uploads, and results unless they are to be kept."""
        self.ending.set()
        self.pool.shutdown(cancel_futures=True)
        for job in list(self.jobs.values()):
            if not (self.keep and job.state == 'done'):
                self.discard(job)

    def _run(self, job: Job) -> None:
        job.state = 'running'
        job.result, job.error = self._outcome(job)
        job.upload.unlink(missing_ok=True)
        if job.result is None:
            shutil.rmtree(job.folder, ignore_errors=True)
        job.state = 'failed' if job.result is None else 'done'
        self._forget()

    def _outcome(self, job: Job) -> tuple[Mapping[str, Any] | None, str]:
        """The result of a job, or why there is none."""
        def tell(stage: str, done: int, total: int) -> None:
            if self.ending.is_set():
                raise StoppedError
            job.stage, job.done, job.total = stage, done, total

        try:
            return self.work(job, tell), ''
        except StoppedError:
            return None, 'The server was stopped.'
        except CrossEarthError as error:
            return None, in_words(str(error), job)
        except MemoryError:
            return None, 'The memory of this machine is too small for this scene. Cut it.'
        except Exception:  # the server lives on, whatever a file does to a library
            logger.exception('job %s', job.id)
            return None, 'Something unforeseen happened; the terminal of crossearth app says what.'

    def _forget(self) -> None:
        """Drop the oldest results."""
        finished = [job for job in list(self.jobs.values()) if job.state in FINISHED]
        for job in finished[:-KEPT]:
            if self.keep:
                self.jobs.pop(job.id, None)
            else:
                self.discard(job)


def in_words(text: str, job: Job) -> str:
    """An error as the page says it: no path of ours, and fields instead of options."""
    text = re.sub(r',? or give --[^.]*', '', text)  # what only the command line can do
    text = text.replace(str(job.upload), job.name).replace(str(job.folder / 'upload'), job.name)
    for option, label in OPTIONS.items():
        text = text.replace(option, label)
    return text
