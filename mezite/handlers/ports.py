# SPDX-License-Identifier: Apache-2.0
"""What stands behind each port: the first bytes, TLS where it belongs, then the handler of the protocol."""

from __future__ import annotations

import logging
import ssl

import attrs
import trio

from mezite.core.protocol_sniffer import Protocol
from mezite.handlers.agent_tunnel import AgentTunnelHandler
from mezite.handlers.session_life import ServeApi
from mezite.handlers.user_ssh import UserSshHandler
from mezite.handlers.user_tunnel import UserTunnelHandler
from mezite.handlers.web_front import WebFront
from mezite.net.accept_loop import Connection
from mezite.net.protocol_router import SERVER_FIRST_WAIT_SECONDS, peek_protocol
from mezite.net.tls_stream import TlsStream

__all__ = ["GrpcPort", "SshPort", "TunnelPort", "WebPort"]

_log = logging.getLogger("mezite.ports")

HANDSHAKE_SECONDS = 10
"""Honest TLS handshakes take a few round trips; the accept loop's own deadline covers everything before."""


async def _handshake(connection: Connection, context: ssl.SSLContext) -> TlsStream:
    stream = TlsStream(connection.stream, context, server_side=True)
    with trio.move_on_after(HANDSHAKE_SECONDS) as deadline:
        await stream.do_handshake()
    if deadline.cancelled_caught:
        # As a peer that goes away, which is no news: slow scanners must not fill the log (threat P15).
        raise trio.BrokenResourceError(f"no TLS handshake within {HANDSHAKE_SECONDS} s")
    connection.established()
    return stream


@attrs.frozen(kw_only=True)
class TunnelPort:
    """Agents' tunnels: mutual TLS, nothing else."""

    context: ssl.SSLContext
    tunnels: AgentTunnelHandler

    async def handle(self, connection: Connection) -> None:
        """Serve one connection."""
        stream = await _handshake(connection, self.context)
        if stream.alpn != "mezite-tunnel/1":
            _log.info(
                "refused a peer that does not speak the tunnel protocol",
                extra={"client": connection.client_address},
            )
            return
        await self.tunnels.serve(stream, connection.client_address)


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
            stream = await _handshake(connection, self.context)
            await self.serve_api(stream, connection.client_address, stream.peer_certificate())
        elif protocol is Protocol.HTTP2_PRIOR_KNOWLEDGE and self.allow_cleartext:
            connection.established()
            await self.serve_api(connection.stream, connection.client_address, None)
        else:
            _log.info("refused a peer that does not speak TLS", extra={"client": connection.client_address})


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
            stream = await _handshake(connection, self.context)
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
        stream = await _handshake(connection, self.context)
        await self._serve(connection, stream, "https")

    async def _serve(self, connection: Connection, stream: trio.abc.Stream, scheme: str) -> None:
        await self.front.serve(stream, scheme, connection.client_address, connection.local_address)
