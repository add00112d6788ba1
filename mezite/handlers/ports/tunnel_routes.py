# SPDX-License-Identifier: Apache-2.0
"""The tunnels as routes of a TLS door: the handshake is mutual, and proves who the peer is."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from mezite.core import alpn
from mezite.handlers.agent_tunnel import AgentTunnelHandler
from mezite.handlers.ports.tls_router import TlsRoute
from mezite.handlers.user_tunnel import UserTunnelHandler
from mezite.net.accept_loop import Connection
from mezite.net.tls_stream import TlsStream

__all__ = ["agent_route", "user_route"]


def agent_route(context: Callable[[], ssl.SSLContext], tunnels: AgentTunnelHandler) -> TlsRoute:
    """Agents, by a context that demands their certificate."""

    async def serve(stream: TlsStream, connection: Connection) -> None:
        connection.established()
        await tunnels.serve(stream, connection.client_address)

    return TlsRoute(alpn=(alpn.AGENT_TUNNEL,), context=context, serve=serve)


def user_route(context: Callable[[], ssl.SSLContext], tunnels: UserTunnelHandler) -> TlsRoute:
    """Users with msh, by a context that demands their certificate."""

    async def serve(stream: TlsStream, connection: Connection) -> None:
        connection.established()
        await tunnels.serve(stream, connection.client_address)

    return TlsRoute(alpn=(alpn.USER_TUNNEL,), context=context, serve=serve)
