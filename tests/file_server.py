# SPDX-License-Identifier: Apache-2.0
"""A server of one file on this machine, which can cut answers short."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

__all__ = ['serve']


@contextlib.contextmanager
def serve(content: bytes, *, status: int = 200, cuts: int = 0) -> Iterator[SimpleNamespace]:
    """Serve `content` at `.url`; the first `cuts` answers end after a third of what is left."""
    state = SimpleNamespace(requests=0, ranges=[], url='')

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests += 1
            start = int(self.headers.get('Range', 'bytes=0-')[6:-1])
            state.ranges.append(start)
            self.send_response(206 if start else status)
            if start:
                self.send_header(
                    'Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
            body = content[start:]
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body[:len(body) // 3] if state.requests <= cuts else body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    state.url = f'http://127.0.0.1:{server.server_port}/file'
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
