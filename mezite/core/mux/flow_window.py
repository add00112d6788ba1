# SPDX-License-Identifier: Apache-2.0
"""Credit that we grant to the peer, and how its size follows the path; docs/mux-protocol.md, section Credit.

Three counters say everything about one window: bytes received, bytes the application has consumed, and up to
which byte the peer may send. Growing or keeping a window only moves the third one.
"""

from typing import Final

import attrs

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.mux.error_codes import ErrorCode

__all__ = ["GrowthPool", "ReceiveWindow", "RoundTrips"]


FRAMES_PER_GRANT: Final = 16
"""So many frames for each grant make its cost vanish; with frames of 128 KiB that is a window of 4 MiB."""


@attrs.define(eq=False)
class ReceiveWindow:
    """Credit for one channel, or for the connection, where ``size`` never changes."""

    size: int
    received: int = attrs.field(default=0, init=False)
    consumed: int = attrs.field(default=0, init=False)
    granted: int = attrs.field(init=False)
    probe: int = attrs.field(default=0, init=False)
    """The PING that went out with, or was under way at, the last grant."""
    frames: int = attrs.field(default=0, init=False)
    """DATA frames since the last grant."""

    def __attrs_post_init__(self) -> None:
        """A new window starts with all of its size granted."""
        self.granted = self.size

    @property
    def unconsumed(self) -> int:
        """Bytes that arrived and that the application has not taken."""
        return self.received - self.consumed

    def receive(self, count: int) -> None:
        """``count`` bytes of DATA came.

        Raises RemoteProtocolError (FLOW_CONTROL) when the credit did not cover them (B2).
        """
        self.received += count
        self.frames += 1
        if self.received > self.granted:
            raise RemoteProtocolError("more data than credit", ErrorCode.FLOW_CONTROL)

    def consume(self, count: int) -> bool:
        """The application took ``count`` bytes; true when a grant is due.

        Raises LocalProtocolError for more than arrived.
        """
        if not 0 <= count <= self.received - self.consumed:
            raise LocalProtocolError("consumed more than was received")
        self.consumed += count
        return (self.consumed + self.size - self.granted) * 2 >= self.size

    def grant(self) -> int:
        """The credit to announce now; from here on it counts."""
        credit = self.consumed + self.size - self.granted
        self.granted += credit
        self.frames = 0
        return credit


@attrs.define(eq=False)
class GrowthPool:
    """Bytes by which windows may grow beyond where they started.

    One pool per connection by default; a process may share one among its connections to bound them together.
    """

    free: int

    def take(self, count: int) -> bool:
        """Reserve ``count`` bytes, at most half of what is free.

        So a few greedy channels leave something for those that follow.
        """
        if count * 2 > self.free:
            return False
        self.free -= count
        return True

    def give_back(self, count: int) -> None:
        """The window that took them is closed."""
        self.free += count


@attrs.define(eq=False)
class RoundTrips:
    """PINGs in order of sending, and the growth of windows that they decide.

    No clock is needed: half a window consumed while a PING was under way means that the window is shorter
    than what the path holds. A slow reader consumes less than that and keeps its window. And since a grant
    costs both sides about as much as a DATA frame, a window also grows while its reader keeps up and its
    sender fills half of it with a few frames.
    """

    sent: int = 0
    returned: int = 0

    def next_ping(self) -> int:
        """The token of a PING about to be sent."""
        self.sent += 1
        return self.sent

    @property
    def under_way(self) -> int:
        """PINGs not answered yet."""
        return self.sent - self.returned

    def pong(self, token: int) -> None:
        """Raises RemoteProtocolError (PROTOCOL_ERROR) unless this answers the oldest PING under way."""
        if token != self.returned + 1 or token > self.sent:
            raise RemoteProtocolError("PONG without its PING", ErrorCode.PROTOCOL_ERROR)
        self.returned = token

    def grow(self, window: ReceiveWindow, largest: int, pool: GrowthPool) -> None:
        """At a grant: double ``window``, up to ``largest``, if it holds the sender up and ``pool`` allows
        it.
        """
        keeps_up = window.unconsumed * 4 <= window.size
        if window.probe > self.returned or (keeps_up and window.frames < FRAMES_PER_GRANT):
            step = min(window.size, largest - window.size)
            if step > 0 and pool.take(step):
                window.size += step
