# SPDX-License-Identifier: Apache-2.0
"""The port of agents."""

from __future__ import annotations

import logging
import ssl

import attrs

from mezite.handlers.agent_tunnel import AgentTunnelHandler
from mezite.handlers.ports.handshake import handshake
from mezite.net.accept_loop import Connection

__all__ = ["TunnelPort"]

_log = logging.getLogger("mezite.ports")


@attrs.frozen(kw_only=True)
class TunnelPort:
    """Agents' tunnels: mutual TLS, nothing else."""

    context: ssl.SSLContext
    tunnels: AgentTunnelHandler

    async def handle(self, connection: Connection) -> None:
        """Serve one connection."""
        stream = await handshake(connection, self.context)
        if stream.alpn != "mezite-tunnel/1":
            _log.info(
                "refused a peer that does not speak the tunnel protocol",
                extra={"client": connection.client_address},
            )
            return
        await self.tunnels.serve(stream, connection.client_address)
