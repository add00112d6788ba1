# SPDX-License-Identifier: Apache-2.0
"""One TLS door, several protocols behind it: the client's ALPN says which, before anything is answered.

Theory of operation. Each protocol has an `ssl` context of its own, with its certificate and its rule about the
client's: tunnels demand one, the gRPC API takes one, browsers are not asked. So the choice must come ahead of the
handshake. The ClientHello is read, put back, and the context that fits does the whole handshake. What the client may do
then hangs on that context alone, whatever the ClientHello was taken for.
"""

from __future__ import annotations

import logging
import math
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import attrs
import trio

from mezite.core.alpn import OWN_PREFIX
from mezite.core.client_hello import ClientHello
from mezite.core.errors import RemoteProtocolError
from mezite.handlers.ports.handshake import handshake_deadline
from mezite.net.accept_loop import Connection, Handler
from mezite.net.byte_streams import PushbackStream
from mezite.net.connection_limits import (
    BudgetedStream,
    BudgetExceededError,
    ConnectionLimits,
    handshake_turns,
)
from mezite.net.fair_turns import FairTurns, TooManyWaitingError
from mezite.net.protocol_router import peek_client_hello
from mezite.net.tls_stream import TlsStream

__all__ = ["ServeTls", "TlsRoute", "TlsRouter", "outer_route"]

_log = logging.getLogger("mezite.ports")

NO_APPLICATION_PROTOCOL = 120
"""The alert of RFC 7301 section 3.2."""

CARRIER = "tunnel carrier"
"""What stands for the listener where the bytes come out of something else."""

_PEER_WENT_AWAY = (
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    BudgetExceededError,
    TooManyWaitingError,
)

ServeTls = Callable[[TlsStream, Connection], Awaitable[None]]
"""Serves one client behind a finished handshake: `(stream, connection)`. `connection.stream` is used up. Nothing is
established yet: the deadline and the byte budget hold until it says so."""


@attrs.frozen(kw_only=True)
class TlsRoute:
    """One of the protocols behind a door."""

    alpn: tuple[str, ...] = ()
    """Its names; the context offers them too."""
    context: Callable[[], ssl.SSLContext]
    """Asked at each connection: certificates change while the hub runs."""
    serve: ServeTls


@attrs.frozen(kw_only=True)
class TlsRouter:
    """Finds the route for a client by the protocols it offers."""

    routes: Sequence[TlsRoute]
    """The first one that the client offers is taken."""
    otherwise: TlsRoute | None = None
    """For clients that offer none of them; None turns them away. Those who offer our own protocols only are always
    turned away: they want a tunnel that is not here."""
    _turns: FairTurns = attrs.field(factory=handshake_turns)
    """At the processor, for those whose bytes arrive inside of something else."""

    saw: Callable[[ClientHello, Connection], None] = lambda _hello, _connection: None
    """Told of every ClientHello, whatever becomes of it."""

    async def serve(self, connection: Connection) -> None:
        """Serve one connection whose client speaks TLS; the connection's owner closes it.

        Raises what :meth:`TlsStream.do_handshake` raises and what the route raises, and
        :exc:`trio.BrokenResourceError` when the handshake takes too long.
        """
        with handshake_deadline():
            route = await self._choose(connection)
            if route is None:
                return
            stream = TlsStream(connection.stream, route.context(), server_side=True)
            await stream.do_handshake(connection.turn)
        await route.serve(stream, connection)

    async def serve_inner(self, stream: trio.abc.Stream, *, client_address: str, local_address: str) -> None:
        """Serve a TLS client whose bytes arrive inside of something else, as a WebSocket; owns `stream`.

        The handshake inside gets a deadline and a byte budget of its own, as if it came on a listener. That the peer
        goes away or is refused is an ordinary end. Cancelling closes `stream` at once.
        """
        limits = ConnectionLimits()
        budgeted = BudgetedStream(stream, limits.preauth_bytes)
        scope = trio.CancelScope(deadline=trio.current_time() + limits.handshake_deadline)

        def lift() -> None:
            scope.deadline = math.inf
            budgeted.lift()

        connection = Connection(
            PushbackStream(budgeted),
            client_address,
            local_address,
            CARRIER,
            lift,
            _counted_already,
            self._turns,
        )
        try:
            with scope:
                await self.serve(connection)
        except _PEER_WENT_AWAY as error:
            _log.debug("a carried connection ended", extra={"client": client_address, "reason": str(error)})
        finally:
            await trio.aclose_forcefully(stream)

    async def _choose(self, connection: Connection) -> TlsRoute | None:
        """Return the route; None when the client was told that there is none for it."""
        try:
            hello = await peek_client_hello(connection.stream)
        except RemoteProtocolError as error:
            await _refuse(connection, error.code, str(error))
            return None
        self.saw(hello, connection)
        route = self._route(hello)
        if route is None:
            offered = ", ".join(hello.alpn) or "none"
            await _refuse(
                connection, NO_APPLICATION_PROTOCOL, f"its protocol is not served here: {offered[:64]!r}"
            )
        return route

    def _route(self, hello: ClientHello) -> TlsRoute | None:
        offered = set(hello.alpn)
        found = next((route for route in self.routes if offered & set(route.alpn)), None)
        if found is None and not (offered and all(name.startswith(OWN_PREFIX) for name in offered)):
            return self.otherwise
        return found


def outer_route(context: Callable[[], ssl.SSLContext], inside: Handler) -> TlsRoute:
    """A TLS session that only wraps what `inside` serves, as a balancer would end it ahead of the hub.

    It proves nothing about the client: deadline and byte budget go on, over both handshakes. `inside` must not lead to
    another outer route: one layer is all that there ever is.
    """

    async def serve(stream: TlsStream, connection: Connection) -> None:
        await inside(connection.inside(stream))

    return TlsRoute(context=context, serve=serve)


def _counted_already(_client_ip: str) -> str | None:
    """Whoever carries the stream has counted it under its client."""
    return None


async def _refuse(connection: Connection, alert: int, why: str) -> None:
    _log.info(
        "refused a TLS client",
        extra={"client": connection.client_address, "listener": connection.listener, "reason": why},
    )
    # A fatal alert, in a record of the version that every client can read (RFC 8446 sections 5.1 and 6).
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await connection.stream.send_all(bytes([21, 3, 3, 0, 2, 2, alert]))
