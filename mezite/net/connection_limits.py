# SPDX-License-Identifier: Apache-2.0
"""What a peer may cost before it has proven who it is, and how many peers there may be.

An unauthenticated connection costs at most one descriptor, 64 KiB and 30 s (threats A11, D14). Limits are
values; a :class:`ConnectionLimiter` counts against them and may be shared by several listeners.
"""

from __future__ import annotations

import collections
import random
import resource
from collections.abc import Callable

import attrs
import trio

from mezite.core.client_address import source_of
from mezite.core.waiting_room import Place, WaitingRoom

from .byte_streams import can_send_eof
from .fair_turns import FairTurns

__all__ = [
    "Admission",
    "BudgetExceededError",
    "BudgetedStream",
    "ConnectionLimiter",
    "ConnectionLimits",
    "LimiterStatistics",
    "TooManyConnectionsError",
    "handshake_turns",
    "raise_descriptor_limit",
]


@attrs.frozen(kw_only=True)
class ConnectionLimits:
    """The limits of a listener or of a group of them."""

    handshake_deadline: float = 25.0
    """Seconds until a connection must have been established. OpenSSH's LoginGraceTime is 120; ours is
    shorter because no human types a password during it, and so that a stranger is gone within 30 s."""
    preauth_bytes: int = 64 * 1024
    """Bytes a peer may send before it is established; the largest honest hand-shakes (TLS with a client
    certificate chain, SSH with certificates) stay under 16 KiB."""
    max_connections: int = 15_000
    """In total; stays under 80 % of the usual RLIMIT_NOFILE of 20,000 (threat P14)."""
    max_connections_per_ip: int = 512
    """From one client address, or one IPv6 /64 (one customer); a NAT with many agents behind it needs hundreds."""
    max_preauth: int = 1024
    """Connections that are not established yet. From half of it on, with rising probability, a newcomer replaces the
    one of the largest crowd that has waited longest, or is dropped (as OpenSSH's MaxStartups) where that is not fair:
    a flood does not shut everyone else out."""
    max_preauth_per_ip: int = 256
    """The same for one address or IPv6 /64: a quarter. Hand-shakes take milliseconds each, so a fleet behind one NAT
    comes back within seconds all the same."""


@attrs.frozen(kw_only=True)
class LimiterStatistics:
    """A snapshot of the counters."""

    connections: int
    """open now"""
    preauth: int
    """open and not established"""
    addresses: int
    """distinct client addresses"""
    refused: int
    """refused since the start"""
    replaced: int
    """cut since the start, before they were established, in favour of a newcomer"""


class TooManyConnectionsError(Exception):
    """A connection is not admitted; the text says why."""


def handshake_turns() -> FairTurns:
    """One step of a hand-shake at a time. What waits is bounded by the places for those who do."""
    return FairTurns(running=1, waiting=1024, waiting_per_source=256)


@attrs.define(eq=False)
class ConnectionLimiter:
    """Counts connections against :class:`ConnectionLimits`. Synchronous, so it needs no lock.

    ``chance`` gives numbers in [0, 1) for the random early drop.
    """

    limits: ConnectionLimits = attrs.Factory(ConnectionLimits)
    chance: Callable[[], float] = random.random
    speaks_for_others: Callable[[str], bool] = attrs.field(default=lambda _ip: False)
    """Says which addresses are balancers, whose connections are many clients': no limit for the one address (C7)."""
    turns: FairTurns = attrs.field(factory=handshake_turns, init=False)
    """At the processor, for those that are not established."""
    _per_ip: collections.Counter[str] = attrs.field(factory=collections.Counter, init=False)
    _waiting: WaitingRoom = attrs.field(factory=WaitingRoom, init=False)
    """Those that are not established yet."""
    _connections: int = attrs.field(default=0, init=False)
    _refused: int = attrs.field(default=0, init=False)
    _replaced: int = attrs.field(default=0, init=False)

    def admit(self, client_ip: str, *, now: float = 0.0, cut: Callable[[], None] = lambda: None) -> Admission:
        """Count a new connection.

        ``cut`` is called when it has not been established and its place goes to somebody else; it must not raise, and
        the admission is released as always. ``now`` is in seconds of any monotonic clock.

        :raises TooManyConnectionsError: there is no place; nothing was counted.
        """
        self._check_room(client_ip, now)
        source = source_of(client_ip)
        place = Place(source, now, cut)
        self._waiting.enter(place)
        self._connections += 1
        self._per_ip[source] += 1
        return Admission(self, place)

    def _check_room(self, client_ip: str, now: float) -> None:
        limits = self.limits
        if self._connections >= limits.max_connections:
            raise self._refusal(f"{self._connections} connections are open (limit {limits.max_connections})")
        self._check_crowd(client_ip)
        waiting, source = len(self._waiting), source_of(client_ip)
        of_source = self._waiting.count(source)
        if of_source >= limits.max_preauth_per_ip and not self.speaks_for_others(client_ip):
            limit = limits.max_preauth_per_ip
            raise self._refusal(
                f"{of_source} connections from this address are still authenticating (limit {limit})"
            )
        start = limits.max_preauth // 2
        over = waiting - start
        if over < 0 or self.chance() * (limits.max_preauth - start) > over:
            return
        if not self._waiting.make_room(source, now):
            raise self._refusal(
                f"{waiting} connections are still authenticating (limit {limits.max_preauth})"
            )
        self._replaced += 1

    def _check_crowd(self, client_ip: str) -> None:
        limit, from_here = self.limits.max_connections_per_ip, self._per_ip.get(source_of(client_ip), 0)
        if from_here >= limit and not self.speaks_for_others(client_ip):
            raise self._refusal(f"{from_here} connections from this address (limit {limit})")

    def _refusal(self, reason: str) -> TooManyConnectionsError:
        self._refused += 1
        return TooManyConnectionsError(reason)

    def _move(self, place: Place, client_ip: str) -> None:
        self._check_crowd(client_ip)
        self._forget(place.source)
        self._waiting.move(place, source_of(client_ip))
        self._per_ip[place.source] += 1

    def _release(self, place: Place) -> None:
        self._waiting.leave(place)
        self._connections -= 1
        self._forget(place.source)

    def _forget(self, source: str) -> None:
        self._per_ip[source] -= 1
        if not self._per_ip[source]:
            del self._per_ip[source]

    def statistics(self) -> LimiterStatistics:
        """The counters now."""
        return LimiterStatistics(
            connections=self._connections,
            preauth=len(self._waiting),
            addresses=len(self._per_ip),
            refused=self._refused,
            replaced=self._replaced,
        )


@attrs.define(eq=False)
class Admission:
    """One connection that counts, from :meth:`ConnectionLimiter.admit` until it is released."""

    _limiter: ConnectionLimiter
    _place: Place
    _released: bool = attrs.field(default=False, init=False)

    def move(self, client_ip: str) -> None:
        """A balancer has said whose connection it is: count it there.

        :raises TooManyConnectionsError: that client has enough of them; it is counted where it was.
        """
        self._limiter._move(self._place, client_ip)

    def established(self) -> None:
        """It is known who this is; the place cannot be taken away any more. Repeating it is harmless."""
        self._limiter._waiting.leave(self._place)

    def release(self) -> None:
        """The connection is gone. Repeating it is harmless."""
        if not self._released:
            self._released = True
            self._limiter._release(self._place)


class BudgetExceededError(Exception):
    """A peer sent more than its budget before it was established."""


class BudgetedStream(trio.abc.HalfCloseableStream):
    """``stream``, of which at most ``budget`` bytes can be received until :meth:`lift` is called.

    Whoever has to read more raises :exc:`BudgetExceededError`. What merely lies there does not: behind the last byte of
    a handshake an honest client sends its request at once, and that may be an upload.
    """

    def __init__(self, stream: trio.abc.Stream, budget: int) -> None:
        self._stream = stream
        self._left: int | None = budget

    @property
    def stream(self) -> trio.abc.Stream:
        """The stream underneath."""
        return self._stream

    @property
    def bare(self) -> trio.abc.Stream | None:
        """The stream underneath once there is no budget, else None."""
        return self._stream if self._left is None else None

    @property
    def can_send_eof(self) -> bool:
        """Whether the stream underneath can half-close."""
        return can_send_eof(self._stream)

    def lift(self) -> None:
        """From now on there is no budget."""
        self._left = None

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As the stream underneath, and :exc:`BudgetExceededError` when the budget is used up."""
        if self._left is None:
            return await self._stream.receive_some(max_bytes)
        # One byte tells whether there is more than the budget, or the end.
        ceiling = max(1, self._left)
        data = await self._stream.receive_some(ceiling if max_bytes is None else min(max_bytes, ceiling))
        if self._left is not None:
            if len(data) > self._left:
                raise BudgetExceededError("too much data before authentication")
            self._left -= len(data)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As the stream underneath."""
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream underneath."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """As the stream underneath; :exc:`TypeError` when it cannot half-close."""
        if not isinstance(self._stream, trio.abc.HalfCloseableStream):
            raise TypeError(f"{type(self._stream).__name__} cannot half-close")
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """As the stream underneath."""
        await self._stream.aclose()


def raise_descriptor_limit() -> int:
    """Raise the soft RLIMIT_NOFILE to the hard one and return how many connections 80 % of it allow.

    The rest is for the database, log files, children and the listeners themselves (threat P14).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard * 4 // 5
