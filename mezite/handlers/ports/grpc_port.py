# SPDX-License-Identifier: Apache-2.0
"""The port of the gRPC API, and what it answers those who meant another one.

Whatever carries a call, TLS with or without a client's certificate, HTTP/2 without TLS, or HTTP/2 that began as
HTTP/1.1, it reaches the same server, which asks for the same credential (threat F3).
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable

import attrs
import trio

from mezite.core.h2c import UpgradeRequest
from mezite.core.protocol_sniffer import Protocol
from mezite.handlers.ports.handshake import handshake
from mezite.net.accept_loop import Connection
from mezite.net.byte_streams import PushbackStream
from mezite.net.h2c_entrance import enter_http2
from mezite.net.protocol_router import peek_protocol
from mezite.net.refusal import refuse_http1, refuse_http2
from mezite.net.tls_stream import TlsStream

__all__ = ["GrpcPort", "ServeGrpc"]

_log = logging.getLogger("mezite.ports")

ServeGrpc = Callable[[trio.abc.Stream, str, bytes | None, UpgradeRequest | None], Awaitable[None]]
"""Serves the gRPC API: `(stream, client address, client certificate as DER or None, first call or None)`."""

GRPC_ALPN = frozenset({"h2", "mezite-grpc/1"})
FIRST_WORDS_SECONDS = 10.0
"""For a client that named no protocol in its handshake to begin with one."""

INADEQUATE_SECURITY = 0xC
"""RFC 9113 section 7: what a server that wants TLS may say."""

WHO_WE_ARE = (
    "This is the gRPC port of a mezite hub. It speaks HTTP/2 only: use mezctl or another gRPC client. "
    "Browsers and msh login belong to the web port, which is 3080 unless proxy.listen_addr says otherwise.\n"
)
USE_HTTP2 = f"{WHO_WE_ARE}With curl, try --http2-prior-knowledge.\n"
USE_TLS = (
    "It wants TLS: use it without --plaintext, or with https://. For a load balancer that ends TLS in front of it, set "
    "MEZITE_GRPC_ALLOW_HTTP=true (auth.grpc_allow_http) on the hub.\n"
)


@attrs.frozen(kw_only=True)
class GrpcPort:
    """The gRPC API: TLS with an optional client certificate; cleartext HTTP/2 only where it is configured."""

    context: Callable[[], ssl.SSLContext]
    serve_api: ServeGrpc
    allow_cleartext: bool

    async def handle(self, connection: Connection) -> None:
        """Serve one connection."""
        protocol = await peek_protocol(connection.stream)
        if protocol is Protocol.TLS:
            await self.serve_tls(await handshake(connection, self.context()), connection)
        elif self.allow_cleartext:
            await self.serve_cleartext(connection)
        else:
            _log.info("refused a peer that does not speak TLS", extra={"client": connection.client_address})
            await _ask_for_tls(connection.stream, protocol)

    async def serve_tls(self, stream: TlsStream, connection: Connection) -> None:
        """Serve a client behind its handshake."""
        opened: trio.abc.Stream = stream
        if stream.alpn not in GRPC_ALPN:
            opened = PushbackStream(stream)
            protocol = None
            with trio.move_on_after(FIRST_WORDS_SECONDS):
                protocol = await peek_protocol(opened)
            if protocol is Protocol.HTTP1:
                await refuse_http1(opened, 505, WHO_WE_ARE)
            if protocol is not Protocol.HTTP2_PRIOR_KNOWLEDGE:
                await trio.aclose_forcefully(opened)
                return
        connection.established()
        await self.serve_api(opened, connection.client_address, stream.peer_certificate(), None)

    async def serve_cleartext(self, connection: Connection) -> None:
        """Serve a client that does not speak TLS, where that is allowed."""
        entered = await enter_http2(connection.stream, USE_HTTP2)
        if entered is None:
            _log.info(
                "refused a peer that does not speak HTTP/2", extra={"client": connection.client_address}
            )
            return
        connection.established()
        upgrade = entered if isinstance(entered, UpgradeRequest) else None
        await self.serve_api(connection.stream, connection.client_address, None, upgrade)


async def _ask_for_tls(stream: trio.abc.Stream, protocol: Protocol | None) -> None:
    """Say what this port wants, in the client's own protocol where that is possible."""
    if protocol is Protocol.HTTP1:
        await refuse_http1(stream, 400, f"{WHO_WE_ARE}{USE_TLS}")
    elif protocol is Protocol.HTTP2_PRIOR_KNOWLEDGE:
        await refuse_http2(stream, INADEQUATE_SECURITY, f"{WHO_WE_ARE}{USE_TLS}")
