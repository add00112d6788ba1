# SPDX-License-Identifier: Apache-2.0
"""The port of the gRPC API."""

from __future__ import annotations

import logging
import ssl

import attrs

from mezite.core.protocol_sniffer import Protocol
from mezite.handlers.ports.handshake import handshake
from mezite.handlers.session_life import ServeApi
from mezite.net.accept_loop import Connection
from mezite.net.protocol_router import peek_protocol

__all__ = ["GrpcPort"]

_log = logging.getLogger("mezite.ports")


@attrs.frozen(kw_only=True)
class GrpcPort:
    """The gRPC API: TLS with an optional client certificate; cleartext HTTP/2 only where it is configured."""

    context: ssl.SSLContext
    serve_api: ServeApi
    allow_cleartext: bool

    async def handle(self, connection: Connection) -> None:
        """Serve one connection."""
        protocol = await peek_protocol(connection.stream)
        if protocol is Protocol.TLS:
            stream = await handshake(connection, self.context)
            await self.serve_api(stream, connection.client_address, stream.peer_certificate())
        elif protocol is Protocol.HTTP2_PRIOR_KNOWLEDGE and self.allow_cleartext:
            connection.established()
            await self.serve_api(connection.stream, connection.client_address, None)
        else:
            _log.info("refused a peer that does not speak TLS", extra={"client": connection.client_address})
