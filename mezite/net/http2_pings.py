# SPDX-License-Identifier: Apache-2.0
"""PINGs of ours and their answers: whether the peer is alive, and whether it has seen our GOAWAY."""

from __future__ import annotations

from collections.abc import Callable

import h2.connection
import h2.events

from mezite.net.http2_ending import ConnectionEnding

__all__ = ["Http2Pings"]

KEEPALIVE_PING = b"mzalive\0"


class Http2Pings:
    """``on_output`` is called when there is one to send."""

    def __init__(
        self, connection: h2.connection.H2Connection, ending: ConnectionEnding, on_output: Callable[[], None]
    ) -> None:
        self.pongs = 0
        """Answers to keepalive PINGs of ours."""
        self._h2 = connection
        self._ending = ending
        self._on_output = on_output

    def send(self) -> None:
        """Ask whether the peer is alive."""
        self._h2.ping(KEEPALIVE_PING)
        self._on_output()

    def answered(self, event: h2.events.PingAckReceived) -> None:
        """Some PING of ours came back."""
        self.pongs += event.ping_data == KEEPALIVE_PING
        self._ending.ping_answered(event.ping_data)
