# SPDX-License-Identifier: Apache-2.0
"""What carries the inner TLS session of a tunnel: TCP, an outer TLS session, or a WebSocket."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

import attrs
import trio

from .addresses import join_host_port, split_host_port
from .outbound import Outbound
from .websocket_stream import WebSocketStream
from .websocket_upgrade import open_websocket

__all__ = ["HTTPS_PORT", "HTTP_ALPN", "TUNNEL_PATH", "Carrier", "TunnelRoute"]

TUNNEL_PATH = "/v1/tunnel"
HTTPS_PORT = 443
HTTP_ALPN = ("http/1.1",)

OUTER_SECONDS = 15
"""For the outer TLS handshake; a healthy balancer takes milliseconds."""


class Carrier(Enum):
    """What the bytes of the inner TLS session travel in."""

    TCP = "tcp"
    TLS = "tls"
    """An outer TLS session, ended by a balancer or by the hub itself."""
    WEBSOCKET = "websocket"
    """A WebSocket on the hub's HTTPS port, where only HTTP passes."""


@attrs.frozen(kw_only=True)
class TunnelRoute:
    """One way to a hub. What it opens proves nothing: the inner TLS session does."""

    address: str
    """``host[:port]``."""
    default_port: int
    carrier: Carrier = Carrier.TCP
    outbound: Outbound = attrs.field(factory=Outbound)

    async def open(
        self, also_trusted: Iterable[bytes] = (), *, deadline_seconds: float = 15
    ) -> trio.abc.Stream:
        """Return a stream for the inner TLS session.

        ``also_trusted`` (PEM) is believed on the outer session besides what `outbound` believes: the cluster's own CA,
        for a hub that ends the outer session itself.

        :raises DialError: nobody answers, or the proxy refuses.
        :raises OuterTlsError: the outer session failed.
        :raises UpgradeError: there is no WebSocket for tunnels.
        """
        stream = await self.outbound.dial(self.address, self.default_port, deadline_seconds=deadline_seconds)
        if self.carrier is Carrier.TCP:
            return stream
        alpn = HTTP_ALPN if self.carrier is Carrier.WEBSOCKET else ()
        outer = await self.outbound.outer_tls(
            stream, self.address, alpn=alpn, also=also_trusted, deadline_seconds=OUTER_SECONDS
        )
        if self.carrier is Carrier.TLS:
            return outer
        host, port = split_host_port(self.address, self.default_port)
        named = join_host_port(host, port).removesuffix(f":{HTTPS_PORT}")
        return WebSocketStream(
            await open_websocket(outer, named, TUNNEL_PATH, deadline_seconds=OUTER_SECONDS)
        )
