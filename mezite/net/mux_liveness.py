# SPDX-License-Identifier: Apache-2.0
"""Is the other side there? docs/mux-protocol.md, section Liveness."""

import attrs
import trio

__all__ = ["Keepalive", "Liveness"]


@attrs.frozen(kw_only=True)
class Keepalive:
    """Seconds. The defaults stay under the shortest idle time-out of load balancers, 60 s, and find a dead
    hub in 15 s.
    """

    interval: float = 5.0
    """From one PING to the next."""
    timeout: float = 15.0
    """A peer silent for so long is dead."""


@attrs.define(eq=False)
class Liveness:
    """When we last heard the peer and how long round trips take; times are seconds of one monotonic clock."""

    last_received: float
    round_trip: float | None = None
    """The newest measured one."""
    last_round_trip_at: float | None = None
    """When the peer last proved that it reads and answers."""
    proven: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set with the first round trip: bytes have gone both ways."""
    _pings: dict[int, float] = attrs.field(factory=dict, init=False)

    def ping_sent(self, token: int, now: float) -> None:
        """A PING of ours was queued."""
        self._pings[token] = now

    def pong_received(self, token: int, now: float) -> None:
        """A PONG came; those that answer PINGs of the core's own are not timed."""
        sent = self._pings.pop(token, None)
        if sent is not None:
            self.round_trip = now - sent
            self.last_round_trip_at = now
            self.proven.set()

    @property
    def under_way(self) -> int:
        """PINGs under way."""
        return len(self._pings)

    def death(self, keepalive: Keepalive, now: float) -> str | None:
        """Why the peer must be taken for dead, or None."""
        # The same sum as the one slept until: a difference may round to just under the timeout.
        if now >= self.last_received + keepalive.timeout:
            return f"the peer has been silent for {keepalive.timeout:g} s"
        return None
