# SPDX-License-Identifier: Apache-2.0
"""What is served in WebSockets: tunnels, where only HTTP passes, and an echo to find out what passes."""

from __future__ import annotations

import trio

from mezite.handlers.ports.tls_router import TlsRouter
from mezite.handlers.web_sockets import ServeWebSocket, WebSocketPeer, WebSockets
from mezite.net.http1_websocket import Accept
from mezite.net.websocket_connection import WebSocketConnection
from mezite.net.websocket_stream import WebSocketStream

__all__ = ["ECHO_PATH", "TUNNEL_PATH", "add_web_sockets"]

TUNNEL_PATH = "/v1/tunnel"
ECHO_PATH = "/v1/webapi/echo"

ECHO_SECONDS = 600
"""An echo is for finding out what a balancer lets through, its idle time among it; ten minutes tell enough."""

ECHO_MESSAGE_BYTES = 64 * 1024
"""As large as a terminal's messages ever are."""

ECHO_MESSAGES = 10_000


def add_web_sockets(sockets: WebSockets, inner_tls: TlsRouter) -> None:
    """Open the doors. The tunnel's is public: who comes is proven by the mutual TLS inside."""
    sockets.add(TUNNEL_PATH, carry_tunnels(inner_tls), verb="tunnel.carry", resource="tunnel", public=True)
    sockets.add(ECHO_PATH, echo, verb="self.echo", resource="account")


def carry_tunnels(inner_tls: TlsRouter) -> ServeWebSocket:
    """Return what serves tunnels of agents and users, told apart by the ALPN of the TLS session inside."""

    async def serve(accept: Accept, peer: WebSocketPeer) -> None:
        stream = WebSocketStream(await accept())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.connection.keep_alive)
            await inner_tls.serve_inner(
                stream, client_address=peer.client_address, local_address=peer.local_address
            )
            nursery.cancel_scope.cancel()

    return serve


async def echo(accept: Accept, _peer: WebSocketPeer) -> None:
    """Send every message back, without pings of our own: how long silence lasts is for the client to find out."""
    connection = await accept()
    with trio.move_on_after(ECHO_SECONDS):
        await _echo_messages(connection)
    await connection.close(1000, "this echo has lasted long enough")


async def _echo_messages(connection: WebSocketConnection) -> None:
    for _ in range(ECHO_MESSAGES):
        message = await connection.receive_message(ECHO_MESSAGE_BYTES)
        if message is None:
            return
        await connection.send(message)
