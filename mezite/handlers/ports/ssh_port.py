# SPDX-License-Identifier: Apache-2.0
"""The port of users."""

from __future__ import annotations

import attrs

from mezite.core.protocol_sniffer import Protocol
from mezite.handlers.ports.tls_router import TlsRouter
from mezite.handlers.ports.wrong_door import WrongDoor
from mezite.handlers.user_ssh import UserSshHandler
from mezite.net.accept_loop import Connection
from mezite.net.protocol_router import SERVER_FIRST_WAIT_SECONDS, peek_protocol

__all__ = ["SshPort"]


@attrs.frozen(kw_only=True)
class SshPort:
    """Users: msh in TLS, or stock SSH clients, told apart by the first bytes; what is in an outer TLS session, too."""

    router: TlsRouter
    jump: UserSshHandler
    wrong_door: WrongDoor

    async def handle(self, connection: Connection) -> None:
        """Serve one connection."""
        # SSH is server-first for clients that wait for our banner: no byte within a second means SSH (threat C5).
        protocol = await peek_protocol(connection.stream, first_byte_seconds=SERVER_FIRST_WAIT_SECONDS)
        if protocol is Protocol.TLS:
            await self.router.serve(connection)
        elif protocol in {Protocol.SSH, None}:
            await self.jump.serve(connection.stream, connection.client_address, connection.established)
        else:
            await self.wrong_door.send_away(connection, protocol)
