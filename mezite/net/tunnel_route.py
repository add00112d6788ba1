# SPDX-License-Identifier: Apache-2.0
"""What carries the inner TLS session of a tunnel: TCP, or TCP in an outer TLS session that a balancer ends."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

import attrs
import trio

from .outbound import Outbound

__all__ = ["Carrier", "TunnelRoute"]

OUTER_SECONDS = 15
"""For the outer TLS handshake; a healthy balancer takes milliseconds."""


class Carrier(Enum):
    """What the bytes of the inner TLS session travel in."""

    TCP = "tcp"
    TLS = "tls"
    """An outer TLS session, ended by a balancer or by the hub itself."""


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
        """
        stream = await self.outbound.dial(self.address, self.default_port, deadline_seconds=deadline_seconds)
        if self.carrier is Carrier.TCP:
            return stream
        return await self.outbound.outer_tls(
            stream, self.address, also=also_trusted, deadline_seconds=OUTER_SECONDS
        )
