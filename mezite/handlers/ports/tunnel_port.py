# SPDX-License-Identifier: Apache-2.0
"""The port of agents."""

from __future__ import annotations

import attrs

from mezite.core.protocol_sniffer import Protocol
from mezite.handlers.ports.handshake import handshake_deadline
from mezite.handlers.ports.tls_router import TlsRouter
from mezite.handlers.ports.wrong_door import WrongDoor
from mezite.net.accept_loop import Connection
from mezite.net.protocol_router import peek_protocol

__all__ = ["TunnelPort"]


@attrs.frozen(kw_only=True)
class TunnelPort:
    """Agents' tunnels: mutual TLS, also inside of an outer TLS session, and nothing else."""

    router: TlsRouter
    wrong_door: WrongDoor

    async def handle(self, connection: Connection) -> None:
        """Serve one connection."""
        with handshake_deadline():
            protocol = await peek_protocol(connection.stream)
        if protocol is Protocol.TLS:
            await self.router.serve(connection)
        else:
            await self.wrong_door.send_away(connection, protocol)
