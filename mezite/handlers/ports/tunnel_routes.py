# SPDX-License-Identifier: Apache-2.0
"""The tunnels as routes of a TLS door: the handshake is mutual, and proves who the peer is."""

from __future__ import annotations

import ssl

from mezite.handlers.agent_tunnel import AgentTunnelHandler
from mezite.handlers.ports.tls_router import TlsRoute
from mezite.handlers.user_tunnel import UserTunnelHandler
from mezite.net.accept_loop import Connection
from mezite.net.tls_stream import TlsStream

__all__ = ["AGENT_ALPN", "USER_ALPN", "agent_route", "user_route"]

AGENT_ALPN = "mezite-tunnel/1"
USER_ALPN = "mezite-connect/1"


def agent_route(context: ssl.SSLContext, tunnels: AgentTunnelHandler) -> TlsRoute:
    """Agents, by `context`, which demands their certificate."""

    async def serve(stream: TlsStream, connection: Connection) -> None:
        connection.established()
        await tunnels.serve(stream, connection.client_address)

    return TlsRoute(alpn=(AGENT_ALPN,), context=context, serve=serve)


def user_route(context: ssl.SSLContext, tunnels: UserTunnelHandler) -> TlsRoute:
    """Users with msh, by `context`, which demands their certificate."""

    async def serve(stream: TlsStream, connection: Connection) -> None:
        connection.established()
        await tunnels.serve(stream, connection.client_address)

    return TlsRoute(alpn=(USER_ALPN,), context=context, serve=serve)
