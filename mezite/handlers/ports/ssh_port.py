# SPDX-License-Identifier: Apache-2.0
"""The port of users."""

from __future__ import annotations

import logging
import ssl

import attrs

from mezite.core.protocol_sniffer import Protocol
from mezite.handlers.ports.handshake import handshake
from mezite.handlers.user_ssh import UserSshHandler
from mezite.handlers.user_tunnel import UserTunnelHandler
from mezite.net.accept_loop import Connection
from mezite.net.protocol_router import SERVER_FIRST_WAIT_SECONDS, peek_protocol

__all__ = ["SshPort"]

_log = logging.getLogger("mezite.ports")


@attrs.frozen(kw_only=True)
class SshPort:
    """Users: `mezite-connect/1` in TLS from msh, or plain SSH from stock clients, told apart by the first bytes."""

    context: ssl.SSLContext
    tunnels: UserTunnelHandler
    jump: UserSshHandler

    async def handle(self, connection: Connection) -> None:
        """Serve one connection."""
        # SSH is server-first for clients that wait for our banner: no byte within a second means SSH (threat C5).
        protocol = await peek_protocol(connection.stream, first_byte_seconds=SERVER_FIRST_WAIT_SECONDS)
        if protocol is Protocol.TLS:
            stream = await handshake(connection, self.context)
            if stream.alpn == "mezite-connect/1":
                await self.tunnels.serve(stream, connection.client_address)
            else:
                _log.info("refused a peer that is not msh", extra={"client": connection.client_address})
            return
        if protocol in {Protocol.SSH, None}:
            await self.jump.serve(connection.stream, connection.client_address, connection.established)
            return
        _log.info(
            "refused a peer that speaks neither SSH nor TLS", extra={"client": connection.client_address}
        )
