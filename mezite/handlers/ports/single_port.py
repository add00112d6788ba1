# SPDX-License-Identifier: Apache-2.0
"""Everything on one port: HTTPS, gRPC, SSH and both kinds of tunnel, told apart by first bytes and ALPN.

The bytes decide between TLS, SSH and HTTP; the client's ALPN decides between the protocols in TLS. A TLS client that
asks for none of them is wrapped (an agent with MEZITE_TLS_WRAP, SSH inside TLS, an old HTTP client), and what is inside
is told apart in the same way, once.
"""

from __future__ import annotations

import logging

import attrs

from mezite.core.protocol_sniffer import Protocol
from mezite.handlers.ports.tls_router import TlsRoute, TlsRouter
from mezite.handlers.ports.wrong_door import WrongDoor
from mezite.handlers.user_ssh import UserSshHandler
from mezite.net.accept_loop import Connection, Handler
from mezite.net.connection_limits import ConnectionLimiter, TooManyConnectionsError
from mezite.net.protocol_router import SERVER_FIRST_WAIT_SECONDS, peek_protocol
from mezite.net.tls_stream import TlsStream

__all__ = ["Share", "SinglePort"]

_log = logging.getLogger("mezite.ports")


@attrs.frozen(kw_only=True)
class SinglePort:
    """All protocols of a hub."""

    router: TlsRouter
    jump: UserSshHandler
    http1: Handler | None
    """Serves HTTP/1.1 that is not in TLS of its own; None refuses it."""
    http2: Handler | None
    """The same for HTTP/2, which is gRPC."""
    wrong_door: WrongDoor

    async def handle(self, connection: Connection) -> None:
        """Serve one connection."""
        # A client that waits for a word of ours speaks SSH: nobody else does that (threat C5).
        protocol = await peek_protocol(connection.stream, first_byte_seconds=SERVER_FIRST_WAIT_SECONDS)
        if protocol is Protocol.TLS:
            await self.router.serve(connection)
        elif protocol in {Protocol.SSH, None}:
            await self.jump.serve(connection.stream, connection.client_address, connection.established)
        elif protocol is Protocol.HTTP1 and self.http1 is not None:
            await self.http1(connection)
        elif protocol is Protocol.HTTP2_PRIOR_KNOWLEDGE and self.http2 is not None:
            await self.http2(connection)
        else:
            await self.wrong_door.send_away(connection, protocol)


@attrs.frozen
class Share:
    """A share of the port's places, for those whom anybody can be.

    The listener counts everybody. Web and gRPC clients, who may stay for as long as requests come, count here too, so
    that they cannot take the places of tunnels and of users' SSH (threats A11, D14).
    """

    limiter: ConnectionLimiter

    def of_route(self, route: TlsRoute) -> TlsRoute:
        """`route`, whose clients count."""

        async def serve(stream: TlsStream, connection: Connection) -> None:
            async def go_on(connection: Connection) -> None:
                await route.serve(stream, connection)

            await self._serve(go_on, connection)

        return attrs.evolve(route, serve=serve)

    def of_handler(self, handler: Handler) -> Handler:
        """`handler`, whose clients count."""

        async def serve(connection: Connection) -> None:
            await self._serve(handler, connection)

        return serve

    async def _serve(self, handler: Handler, connection: Connection) -> None:
        try:
            admission = self.limiter.admit(connection.client_ip)
        except TooManyConnectionsError as refused:
            _log.warning(
                "refused a connection", extra={"client": connection.client_address, "reason": str(refused)}
            )
            return
        # Waiting is the listener's business; this one has been heard already.
        admission.established()
        try:
            await handler(connection)
        finally:
            admission.release()
