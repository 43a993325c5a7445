# SPDX-License-Identifier: Apache-2.0
"""What every request has to prove, and what every answer forbids the browser.

The page has no password, so other web sites must not reach it through the user's own browser: a
site whose name suddenly resolves to 127.0.0.1 (DNS rebinding) is told by its `Host`, a form or
script of another site (CSRF) by its `Origin`.
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ['SECURITY_HEADERS', 'Guard']

SECURITY_HEADERS = {
    'Content-Security-Policy':
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cache-Control': 'no-store',
}
SAFE = ('GET', 'HEAD')


class Guard:
    """Middleware that turns requests of other sites away.

    Args:
        app: The application.
        names: Host names besides `localhost` under which it may be called; addresses always may,
            since no name has to be resolved for them.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = ()) -> None:
        self.app = app
        self.names = {'localhost', *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message['type'] == 'http.response.start':
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        reason = self._reason(scope['method'], Headers(scope=scope))
        answer = JSONResponse({'error': reason}, 403) if reason else self.app
        await answer(scope, receive, guarded)

    def _reason(self, method: str, headers: Headers) -> str:
        """Why a request is turned away; nothing if it is not."""
        hosts, origin = headers.getlist('host'), headers.get('origin')
        if len(hosts) != 1 or not self._known(hosts[0]):
            return 'This page is not served under that name.'
        if method in SAFE:
            return ''
        if origin is not None and origin != f'http://{hosts[0]}':
            return 'Only the page itself may send scenes.'
        if headers.get('sec-fetch-site', 'same-origin') != 'same-origin':
            return 'Only the page itself may send scenes.'
        return ''

    def _known(self, host: str) -> bool:
        try:
            name = urlsplit(f'//{host}').hostname or ''
        except ValueError:
            return False
        return name in self.names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
