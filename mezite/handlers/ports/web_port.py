# SPDX-License-Identifier: Apache-2.0
"""The port of browsers and of the web API."""

from __future__ import annotations

import ssl

import attrs
import trio

from mezite.handlers.ports.handshake import handshake
from mezite.handlers.web_front import WebFront
from mezite.net.accept_loop import Connection

__all__ = ["WebPort"]


@attrs.frozen(kw_only=True)
class WebPort:
    """HTTPS: the web API; without a context cleartext, for a balancer that holds the TLS."""

    context: ssl.SSLContext | None
    front: WebFront

    async def handle(self, connection: Connection) -> None:
        """Serve one connection."""
        if self.context is None:
            connection.established()
            await self._serve(connection, connection.stream, "http")
            return
        stream = await handshake(connection, self.context)
        await self._serve(connection, stream, "https")

    async def _serve(self, connection: Connection, stream: trio.abc.Stream, scheme: str) -> None:
        await self.front.serve(stream, scheme, connection.client_address, connection.local_address)
