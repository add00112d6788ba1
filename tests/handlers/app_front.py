# SPDX-License-Identifier: Apache-2.0
"""A client, the front, the proxy and an application's server, joined by memory or loopback streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import attrs
import trio

from mezite.core.apps.app import App, AppOptions
from mezite.core.http1.client_fields import without_reserved
from mezite.handlers.app_exchange import ExchangeTimes
from mezite.handlers.app_http import AppProxy
from mezite.net.asgi_types import Receive, Scope, Send
from mezite.net.byte_streams import PushbackStream
from mezite.net.http1_limits import HostRules, Http1Limits
from mezite.net.http1_server import serve_http1
from mezite.net.mux_channel import MuxChannel
from mezite.services.apps.dialing import AppConnection
from mezite.services.apps.request_log import AppRequest
from mezite.services.identity.identities import UserIdentity
from mezite.services.sources import system_sources
from mezite.testing.memory_network import MemoryNetwork, MemoryStream

RULES = HostRules(limits=Http1Limits(body_bytes=1 << 40), plain_paths=False)
HOST = b"Host: wiki.apps.example\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
FIELDS = [
    (b"Mezite-Jwt-Assertion", b"eyJ.e30.signed-by-the-hub"),
    (b"X-Mezite-User", b"ada"),
    (b"X-Mezite-Roles", b"dev"),
]

ServeApp = Callable[[trio.abc.Stream, int], Awaitable[None]]
"""The application's side of the connection with this number, beginning with 1."""


def make_app(uri: str = "http://10.0.3.12:3000", **options: Any) -> App:
    return App(
        name="wiki",
        uri=uri,
        public_addr="wiki.apps.example",
        agent_hostnames=("node-1",),
        options=AppOptions(**options),
    )


@attrs.define(eq=False)
class Dialed:
    """How the proxy gets to the application."""

    serve: ServeApp
    nursery: trio.Nursery
    network: MemoryNetwork = attrs.field(factory=MemoryNetwork)
    count: int = 0
    refusals: list[Exception] = attrs.field(factory=list)
    """Raised by the next dials, the first one first."""
    ends: list[MemoryStream] = attrs.field(factory=list)
    """The proxy's."""

    async def open(
        self, _app: App, *, user: str = "", client_address: str = "", trace_id: str = ""
    ) -> AppConnection:
        assert len(trace_id) == 32
        if self.refusals:
            raise self.refusals.pop(0)
        self.count += 1
        async with self.network.listen(f"app:{self.count}") as listener:
            ours, theirs = await self.network.dial(f"app:{self.count}"), await listener.accept()
        self.ends.append(ours)
        self.nursery.start_soon(self._serve, theirs, self.count)
        return AppConnection(stream=cast("MuxChannel", ours), agent_id=f"id-{self.count}", agent="node-1")

    async def _serve(self, stream: MemoryStream, number: int) -> None:
        async with stream:
            try:
                await self.serve(stream, number)
            except trio.BrokenResourceError:
                return


@attrs.frozen
class Ada:
    """As much of a user as the proxy asks for; a real one takes a database and a credential."""

    name: str = "ada"
    app_session: str = "session-1"


@attrs.define(eq=False)
class Site:
    """Everything between a browser and an application."""

    app: App
    proxy: AppProxy
    dialed: Dialed
    records: list[AppRequest]
    nursery: trio.Nursery
    network: MemoryNetwork = attrs.field(factory=MemoryNetwork)
    identity: UserIdentity | None = None
    note: Callable[[Scope], None] = lambda _scope: None
    """Told of each request that the gate lets through."""
    scopes: list[trio.CancelScope] = attrs.field(factory=list)
    """Of the requests, as the gate holds them."""
    state: dict[str, Any] = attrs.field(factory=dict)
    """What the gate says of each request."""
    _clients: int = 0

    async def connect(self) -> MemoryStream:
        """A browser's connection."""
        self._clients += 1
        async with self.network.listen(f"hub:{self._clients}") as listener:
            ours, theirs = await self.network.dial(f"hub:{self._clients}"), await listener.accept()
        self.nursery.start_soon(self.serve, theirs)
        return ours

    async def serve(self, stream: trio.abc.Stream) -> None:
        await serve_http1(
            PushbackStream(stream),
            self.gate,
            scheme="https",
            client="203.0.113.9:5000",
            server="192.0.2.1:443",
            rules_of=lambda _host: RULES,
        )

    async def gate(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What stands before the proxy, without its questions."""
        scope = {
            **scope,
            "headers": without_reserved(scope["headers"]),
            "state": scope["state"] | self.state,
        }
        self.note(scope)
        with trio.CancelScope() as cut:
            self.scopes.append(cut)
            await self.proxy.forward(self.app, self.identity, scope, receive, send)

    async def ask(self, data: bytes = GET) -> bytes:
        """Everything that comes back to a browser that asks no more than this."""
        async with await self.connect() as stream:
            await stream.send_all(data.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            return await read_all(stream)

    def last(self) -> AppRequest:
        return self.records[-1]


@asynccontextmanager
async def open_site(
    serve: ServeApp,
    app: App | None = None,
    *,
    times: ExchangeTimes | None = None,
    fields: Sequence[tuple[bytes, bytes]] = FIELDS,
) -> AsyncIterator[Site]:
    records: list[AppRequest] = []

    async def record(request: AppRequest) -> None:
        records.append(request)

    async with trio.open_nursery() as nursery:
        dialed = Dialed(serve, nursery)
        proxy = AppProxy(
            open=dialed.open,
            identity_fields=lambda _app, _identity: fields,
            record=record,
            sources=system_sources(),
            times=times or ExchangeTimes(),
        )
        await nursery.start(proxy.run)
        yield Site(app or make_app(), proxy, dialed, records, nursery)
        nursery.cancel_scope.cancel()


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    got = bytearray()
    while data := await stream.receive_some():
        got += data
    return bytes(got)


async def read_until(stream: trio.abc.ReceiveStream, end: bytes, got: bytes = b"") -> bytes:
    """What comes up to and with `end`, and perhaps more; BrokenResourceError when it does not."""
    while end not in got:
        data = await stream.receive_some()
        if not data:
            raise trio.BrokenResourceError(f"the stream ended with {got!r}")
        got += data
    return got


def saying(*answers: bytes, seen: list[bytes] | None = None) -> ServeApp:
    """An application that gives these answers, one to each head, on any connection; then it ends the connection."""
    left = list(answers)

    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        got = b""
        while left:
            got = await read_until(stream, b"\r\n\r\n", got)
            head, _, got = got.partition(b"\r\n\r\n")
            if seen is not None:
                seen.append(head)
            await stream.send_all(left.pop(0))

    return serve
