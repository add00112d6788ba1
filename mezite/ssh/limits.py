# SPDX-License-Identifier: Apache-2.0
"""Every bound of an SSH connection, with its reason."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from mezite.core.client_address import source_of
from mezite.core.waiting_room import Place, WaitingRoom
from mezite.ssh.errors import ConnectionLostError

__all__ = ["Slot", "SshLimits", "StartupLimiter"]


@attrs.frozen(kw_only=True)
class SshLimits:
    """Bounds of one connection. The defaults follow OpenSSH where it has one."""

    login_grace_seconds: float = 25
    """From the first byte until authenticated (threat A11). OpenSSH waits 120 s for people who type
    passwords; here only keys are accepted, and a stranger is gone within 30 s."""
    proof_seconds: float = 190
    """How long the dialogue after a good certificate may take: the hub gives the person three minutes."""
    key_exchange_seconds: float = 30
    """One later key exchange, from our KEXINIT to the new keys (threat A7)."""
    flush_seconds: float = 2
    """How long bytes already written may take to leave when the connection is being closed."""
    identification_bytes: int = 255
    """The peer's first line, with its line end (RFC 4253 section 4.2)."""
    unauthenticated_packet_bytes: int = 35_000
    """What every implementation must accept (RFC 4253 section 6.1); larger only from those we know (threat
    A6).
    """
    packet_bytes: int = 256 * 1024
    """As OpenSSH; channel data never needs more than ``channel_packet_bytes``."""
    login_requests: int = 40
    """Authentication requests of any kind: an agent may hold many keys before the right one."""
    login_failures: int = 20
    """Refused ones among them."""
    sessions: int = 64
    """Session channels at a time. OpenSSH stops at 10 per connection; CI systems run more over one master."""
    channels: int = 512
    """Channels of all kinds at a time: a browser behind ``-D`` opens hundreds."""
    channel_window_bytes: int = 2 * 1024 * 1024
    """Bytes a peer may send into a channel nobody reads. Larger windows made OpenSSH clients slower."""
    connection_window_bytes: int = 128 * 1024 * 1024
    """The same, summed over all channels of a connection: 64 full windows."""
    channel_packet_bytes: int = 32 * 1024
    """Largest data message we ask for, as OpenSSH."""
    outbound_bytes: int = 512 * 1024
    """Bytes ready to leave above which channels wait: a few reads of a process's output."""
    reply_bytes: int = 1024 * 1024
    """Bytes ready to leave above which nothing more is read from the peer: it asks without reading
    answers.
    """
    rekey_bytes: int = 1024 * 1024 * 1024
    """Bytes under one key. AES-GCM would bear far more (RFC 4253 section 9 suggests 1 GB)."""
    keepalive_seconds: float = 30
    """A silent peer is asked for a sign of life this often; 0 turns it off."""
    idle_seconds: float = 0
    """A connection whose channels carry no data either way for so long is ended; 0 never. Signs of life are no data."""
    keepalive_missed: int = 3
    """Unanswered questions after which the peer counts as dead."""
    environment_entries: int = 64
    """Variables a client may set for one session."""
    environment_bytes: int = 32 * 1024
    """Their names and values together."""
    forward_listeners: int = 32
    """Ports a client may have us listen on (``-R``)."""
    dial_seconds: float = 15
    """For the connection behind ``-L``, ``-W`` and ``-D``."""


@attrs.define(eq=False)
class StartupLimiter:
    """Counts connections that have not authenticated yet, over all connections that share it (threat A11).

    The counts go back to zero with the connections: a slot is held by a context manager.
    """

    total: int = attrs.field(default=256, kw_only=True)
    """Each has a thread. OpenSSH's MaxStartups refuses everything at 100, for one machine; this port is everybody's."""
    per_source: int = attrs.field(default=20, kw_only=True)
    """One IPv4 address or one IPv6 /64; parallel tools open a handful at once."""
    _waiting: WaitingRoom = attrs.field(factory=WaitingRoom, init=False)

    @property
    def pending(self) -> int:
        """Unauthenticated connections now."""
        return len(self._waiting)

    def take(self, source: str, *, now: float = 0.0, dismiss: Callable[[], None] = lambda: None) -> Slot:
        """A slot for a connection from ``source``, an address; ``now`` is of a monotonic clock.

        When all are taken, one of the largest crowd is dismissed for it where that is fair; ``dismiss`` is called when
        that happens to this one.

        :exc:`ConnectionLostError` when there is none: close the connection without a word.
        """
        source = source_of(source)
        if self._waiting.count(source) >= self.per_source:
            raise ConnectionLostError(
                f"{source} has {self.per_source} connections that have not authenticated yet"
            )
        if self.pending >= self.total and not self._waiting.make_room(source, now):
            raise ConnectionLostError(f"{self.pending} connections have not authenticated yet")
        place = Place(source, now, dismiss)
        self._waiting.enter(place)
        return Slot(self._waiting, place)


@attrs.define(eq=False)
class Slot:
    """One unauthenticated connection; giving it back twice is harmless."""

    _room: WaitingRoom
    _place: Place

    def release(self) -> None:
        """The connection has authenticated or ended."""
        self._room.leave(self._place)
