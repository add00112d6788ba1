# SPDX-License-Identifier: Apache-2.0
"""The port of browsers and of the web API."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import attrs

from mezite.core import alpn
from mezite.core.protocol_sniffer import Protocol
from mezite.handlers.ports.handshake import handshake_deadline
from mezite.handlers.ports.tls_router import TlsRoute, TlsRouter
from mezite.handlers.ports.wrong_door import WrongDoor
from mezite.handlers.web_front import WebFront
from mezite.net.accept_loop import Connection, Handler
from mezite.net.protocol_router import peek_protocol
from mezite.net.tls_stream import TlsStream

__all__ = ["WebPort", "web_handler", "web_route"]

_NOT_HTTP1 = frozenset({Protocol.TLS, Protocol.SSH, Protocol.HTTP2_PRIOR_KNOWLEDGE})


def web_route(context: Callable[[], ssl.SSLContext], front: WebFront) -> TlsRoute:
    """HTTPS."""

    async def serve(stream: TlsStream, connection: Connection) -> None:
        connection.established()
        await front.serve(stream, "https", connection.client_address, connection.local_address)

    return TlsRoute(alpn=(alpn.HTTP1,), context=context, serve=serve)


def web_handler(front: WebFront, scheme: str) -> Handler:
    """HTTP on a connection as it is; `scheme` is what is around it."""

    async def serve(connection: Connection) -> None:
        connection.established()
        await front.serve(connection.stream, scheme, connection.client_address, connection.local_address)

    return serve


@attrs.frozen(kw_only=True)
class WebPort:
    """The web API in TLS, or in cleartext for a balancer that holds the TLS, or either."""

    router: TlsRouter | None
    """None where TLS is not spoken."""
    cleartext: bool
    front: WebFront
    wrong_door: WrongDoor

    async def handle(self, connection: Connection) -> None:
        """Serve one connection."""
        with handshake_deadline():
            protocol = await peek_protocol(connection.stream)
        if protocol is Protocol.TLS and self.router is not None:
            await self.router.serve(connection)
        elif self.cleartext and protocol not in _NOT_HTTP1:
            await web_handler(self.front, "http")(connection)
        else:
            await self.wrong_door.send_away(connection, protocol)
