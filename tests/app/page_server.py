# SPDX-License-Identifier: Apache-2.0
"""A server of the page on a free port, and a client that can send any header."""

import http.client
import json
import socket
import threading
import time
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from inference.bundles import CARD

from crossearth.app.jobs import JobQueue
from crossearth.app.mapping import SceneMapper
from crossearth.inference.card import Card
from crossearth.inference.predictor import Predictor

GAP = {'style': {'shift': 1.4, 'outside': 0.25, 'tiles': 4}, 'reference': 'dry', 'notes': [],
       'verdict': 'as far as another climate', 'place': 'above 1.36 (red and blue swapped)'}


class Client:
    """Requests to a server on this machine.

    Args:
        port: Its port.
    """

    def __init__(self, port: int) -> None:
        self.port = port

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple:
        """Status, headers and body; names of headers with `_` for `-`."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        try:
            connection.request(method, path, body, {
                name.replace('_', '-'): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> tuple:
        """Fetch."""
        return self.request('GET', path, **headers)

    def send(self, content: bytes, name: str = 'scene.tif', query: dict | None = None,
             **headers: str) -> tuple[int, dict]:
        """Upload; status and answer."""
        status, _, body = self.request(
            'POST', f'/api/jobs?{urlencode({"name": name, **(query or {})})}', content,
            **{'Content_Type': 'application/octet-stream', **headers})
        return status, json.loads(body)

    def wait(self, number: str) -> dict:
        """The state of a job when it is finished."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            status, _, body = self.get(f'/api/jobs/{number}')
            assert status == 200, body
            if (job := json.loads(body))['state'] in ('done', 'failed'):
                return job
            time.sleep(0.02)
        raise TimeoutError(job)

    def map(self, path: Path, query: dict | None = None) -> dict:
        """Upload a file and wait for its result."""
        status, answer = self.send(path.read_bytes(), path.name, query)
        assert status == 201, answer
        return {**self.wait(answer['id']), 'id': answer['id']}


@contextmanager
def serving(queue: JobQueue, card: Card, *, max_bytes: int = 1_000_000, names: tuple = ()):
    """Serve the page from a thread."""
    for package in ('starlette', 'uvicorn'):
        pytest.importorskip(package, reason=f'{package} is an extra: crossearth[app]')
    import uvicorn

    from crossearth.app.server import create_app

    app = create_app(queue, card, max_bytes=max_bytes, names=names)
    listener = socket.create_server(('127.0.0.1', 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level='warning', access_log=False, ws='none'))
    thread = threading.Thread(target=server.run, kwargs={'sockets': [listener]})
    thread.start()
    try:
        yield Client(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The output folder."""
    (tmp_path / 'output').mkdir()
    return tmp_path / 'output'


@pytest.fixture
def predictor() -> Predictor:
    """The class of a pixel is its largest band."""
    return Predictor(lambda images: images + 1, 3, Card(**deepcopy(CARD), sha256='0' * 64))


@pytest.fixture
def queue(output: Path, predictor: Predictor) -> JobQueue:
    """Work on scenes."""
    return JobQueue(output, SceneMapper(predictor, lambda *_: GAP), keep=False)


@pytest.fixture
def client(queue: JobQueue, predictor: Predictor):
    """A server that takes 2 MB."""
    with serving(queue, predictor.card, max_bytes=2_000_000, names=('this-machine',)) as client:
        yield client


def colors(height: int, width: int) -> np.ndarray:
    """(3, height, width) uint8: the left half is water, then forest; above all a row of built."""
    image = np.full((3, height, width), 50, np.uint8)
    image[0, :, :width // 2] = 200
    image[2, :, width // 2:] = 200
    image[:, 0] = np.array([50, 200, 50], np.uint8)[:, None]
    return image
