# SPDX-License-Identifier: Apache-2.0
"""The addresses of the page: a scene goes in, its state and its files come out."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from crossearth.app.guard import Guard
from crossearth.app.jobs import BusyError, Job, JobQueue, in_words
from crossearth.app.mapping import DOWNLOADS, PICTURES
from crossearth.app.uploads import (
    TooLargeError,
    check_raster,
    clean_name,
    read_options,
    receive,
)
from crossearth.errors import CrossEarthError
from crossearth.inference.card import Card

__all__ = ['create_app']

PAGE = Path(__file__).parent / 'page'
PAGE_FILES = {'/': 'index.html', '/style.css': 'style.css', '/page.js': 'page.js'}
RAW = 'application/octet-stream'  # no form of another site can send this
STATUS = {TooLargeError: 413, BusyError: 503}


def create_app(
    queue: JobQueue, card: Card, *, max_bytes: int, names: Iterable[str] = ()
) -> Starlette:
    """Make the application.

    Args:
        queue: Where scenes go; closed when the application ends.
        card: The model, for the head of the page.
        max_bytes: Largest upload.
        names: As of `Guard`.
    """
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(queue.close)

    api = _Api(queue, card, max_bytes)
    pages = [Route(address, _page(name)) for address, name in PAGE_FILES.items()]
    return Starlette(lifespan=lifespan, middleware=[Middleware(Guard, names=list(names))], routes=[
        *pages,
        Route('/api/model', api.model),
        Route('/api/jobs', api.submit, methods=['POST']),
        Route('/api/jobs/{id}', api.state),
        Route('/api/jobs/{id}/{file}', api.file)])


def _page(name: str) -> Any:
    async def answer(_: Request) -> Response:
        return FileResponse(PAGE / name)

    return answer


class _Api:
    """What the script of the page calls."""

    def __init__(self, queue: JobQueue, card: Card, max_bytes: int) -> None:
        self.queue = queue
        self.card = card
        self.max_bytes = max_bytes

    async def model(self, _: Request) -> Response:
        """What the model is."""
        card = self.card
        return JSONResponse({
            'classes': list(card.classes), 'bands': list(card.bands), 'gsd_m': card.gsd_m,
            'training_domain': list(card.training_domain), 'licence': card.licence,
            'max_bytes': self.max_bytes})

    async def submit(self, request: Request) -> Response:
        """Take a scene: its bytes are the body, its name and options the query."""
        if request.headers.get('content-type') != RAW:
            return _error(f'Scenes are sent as {RAW}.', 415)
        query = request.query_params
        try:
            options = read_options(*(query.get(name, '') for name in ('bands', 'scale', 'gsd')))
            job = self.queue.open(clean_name(query.get('name', '')), options)
        except CrossEarthError as error:
            return _error(str(error), STATUS.get(type(error), 400))
        try:
            job.upload = await receive(request.stream(), job.folder, self.max_bytes,
                                       int(request.headers.get('content-length', 0)))
            await run_in_threadpool(check_raster, job.upload)
        except CrossEarthError as error:
            self.queue.discard(job)
            return _error(in_words(str(error), job), STATUS.get(type(error), 400))
        except OSError as error:
            self.queue.discard(job)
            return _error(f'The upload cannot be stored here: {error.strerror}.', 507)
        except BaseException:  # the browser went away, or the server ends
            self.queue.discard(job)
            raise
        self.queue.submit(job)
        return JSONResponse({'id': job.id}, 201)

    async def state(self, request: Request) -> Response:
        """How far a job is, and its result."""
        if (job := self._job(request)) is None:
            return _error('There is no such result (any more).', 404)
        return JSONResponse({
            'name': job.name, 'state': job.state, 'ahead': self.queue.ahead(job),
            'stage': job.stage, 'done': job.done, 'total': job.total, 'result': job.result,
            'error': job.error})

    async def file(self, request: Request) -> Response:
        """One of the files of a result; no other name is looked at."""
        job, name = self._job(request), request.path_params['file']
        if job is None or job.state != 'done' or name not in (*PICTURES, *DOWNLOADS):
            return _error('There is no such file.', 404)
        if name in PICTURES:
            return FileResponse(job.folder / name, media_type='image/png')
        return FileResponse(job.folder / name, media_type=RAW,
                            filename=f'{Path(job.name).stem}_{name}')

    def _job(self, request: Request) -> Job | None:
        return self.queue.find(request.path_params['id'])


def _error(text: str, status: int) -> Response:
    return JSONResponse({'error': text}, status)
