# SPDX-License-Identifier: Apache-2.0
"""A server of files on this machine, with the ways of servers that tests need."""

import contextlib
import multiprocessing
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ['FileServer', 'serve', 'serve_apart', 'serve_one']


class FileServer(ThreadingHTTPServer):
    """Serves `files` (path -> content); `requests` holds the ranges that were asked for."""

    ranges = True
    length = True
    cuts = ()  # the n-th answer ends after so many bytes
    codes = ()  # status of the n-th answer, 0 = as it should be
    location = ''

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.files, self.requests = files, []
        self.root = f'http://127.0.0.1:{self.server_port}'


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(200 if self.path in self.server.files else 404)
        self.send_header('Content-Length', str(len(self.server.files.get(self.path, b''))))
        self.end_headers()

    def do_GET(self):
        if self.path not in self.server.files:
            self.send_error(404)
            return
        ways, asked = self.server, self.headers.get('Range')
        data, number = ways.files[self.path], len(ways.requests)
        ways.requests.append(asked)
        code = ways.codes[number] if number < len(ways.codes) else 0
        if code or ways.location:
            self.send_response(code or 302)
            self.send_header('Location', ways.location)
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        first, _, last = asked[6:].partition('-') if asked and ways.ranges else ('0', '-', '')
        start = int(first)
        if start and start >= len(data):
            self.send_error(416)
            return
        body = data[start:int(last) + 1 if last else None]
        part = start or last
        self.send_response(206 if part else 200)
        if part:
            self.send_header('Content-Range', f'bytes {start}-{start + len(body) - 1}/*')
        if ways.length:
            self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body[:ways.cuts[number]] if number < len(ways.cuts) else body)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serve(files: dict[str, bytes]) -> Iterator[FileServer]:
    """Run a server of these files in a thread."""
    with FileServer(files) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def serve_one(content: bytes, *, status: int = 0, cuts: int = 0) -> Iterator[FileServer]:
    """Serve one file at `.url`; the first `cuts` answers end after a third of the file."""
    with serve({'/file': content}) as server:
        server.url = server.root + '/file'
        server.codes = (status,)
        server.cuts = (len(content) // 3,) * cuts
        yield server


@contextlib.contextmanager
def serve_apart(files: dict[str, bytes]) -> Iterator[str]:
    """Run a server in a process of its own: GDAL holds Python's lock while it waits for answers."""
    context = multiprocessing.get_context('spawn')
    root = context.Queue()
    process = context.Process(target=_serve_forever, args=(files, root), daemon=True)
    process.start()
    try:
        yield root.get(timeout=60)
    finally:
        process.terminate()
        process.join()


def _serve_forever(files: dict[str, bytes], root: Any) -> None:
    with FileServer(files) as server:
        root.put(server.root)
        server.serve_forever()
