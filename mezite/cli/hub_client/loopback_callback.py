# SPDX-License-Identifier: Apache-2.0
"""Where a browser brings the code of a login to this program: once, on loopback (threat D20).

Other programs of this machine can connect, and so can pages that the browser shows. What they do not know is the path,
which is random; a page of another site that has found the port is turned away by the Host field, which it cannot write;
and the code alone is worth nothing without the secret that only this program knows.
"""

from __future__ import annotations

import re
import secrets
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from mezite.net.asgi_answer import answer
from mezite.net.asgi_types import Receive, Scope, Send
from mezite.net.http1_server import serve_http1

__all__ = ["LoopbackCallback", "open_loopback_callback"]

HOST = "127.0.0.1"
CODE = re.compile(r"[0-9a-f]{64}", re.ASCII)

MAX_CONNECTIONS = 16
"""A browser opens one or two."""


@attrs.define(eq=False, kw_only=True)
class LoopbackCallback:
    """An ASGI application that takes one code."""

    port: int
    path: str
    code: str = ""
    arrived: trio.Event = attrs.field(factory=trio.Event)

    @property
    def url(self) -> str:
        """What the hub is told."""
        return f"http://{HOST}:{self.port}{self.path}"

    async def wait(self) -> str:
        """Return the code when it is there."""
        await self.arrived.wait()
        return self.code

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Serve one request."""
        code = self._code_in(scope)
        if not code:
            await answer(scope, send, 404, "Not found", "There is nothing here.")
            return
        await answer(
            scope, send, 200, "Signed in", "The program goes on by itself. You can close this window."
        )
        self.code = code
        self.arrived.set()

    def _code_in(self, scope: Scope) -> str:
        hosts = [value for name, value in scope.get("headers", ()) if name == b"host"]
        if self.code or scope["type"] != "http" or hosts != [f"{HOST}:{self.port}".encode()]:
            return ""
        if scope["method"] != "GET" or not secrets.compare_digest(scope["path"].encode(), self.path.encode()):
            return ""
        query = urllib.parse.parse_qs(scope["query_string"].decode("ascii", "replace"))
        values = query.get("code", [])
        return values[0] if len(values) == 1 and CODE.fullmatch(values[0]) else ""


@asynccontextmanager
async def open_loopback_callback() -> AsyncIterator[LoopbackCallback]:
    """Listen on a free port of loopback for the length of the block."""
    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    port = int(listener.socket.getsockname()[1])
    callback = LoopbackCallback(port=port, path=f"/{secrets.token_urlsafe(24)}")
    places = trio.CapacityLimiter(MAX_CONNECTIONS)

    async def serve(stream: trio.SocketStream) -> None:
        try:
            places.acquire_on_behalf_of_nowait(stream)
        except trio.WouldBlock:
            await trio.aclose_forcefully(stream)
            return
        try:
            here = f"{HOST}:{port}"
            await serve_http1(stream, callback, scheme="http", client=here, server=here)
        finally:
            places.release_on_behalf_of(stream)

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, serve, [listener])
        yield callback
        nursery.cancel_scope.cancel()
