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

from .byte_streams import can_send_eof

__all__ = [
    "BudgetExceededError",
    "BudgetedStream",
    "ConnectionLimiter",
    "ConnectionLimits",
    "LimiterStatistics",
    "raise_descriptor_limit",
]


@attrs.frozen(kw_only=True)
class ConnectionLimits:
    """The limits of a listener or of a group of them."""

    handshake_deadline: float = 30.0
    """Seconds until a connection must have been established (OpenSSH's LoginGraceTime is 120, ours is
    shorter because no human types a password during it)."""
    preauth_bytes: int = 64 * 1024
    """Bytes a peer may send before it is established; the largest honest hand-shakes (TLS with a client
    certificate chain, SSH with certificates) stay under 16 KiB."""
    max_connections: int = 15_000
    """In total; stays under 80 % of the usual RLIMIT_NOFILE of 20,000 (threat P14)."""
    max_connections_per_ip: int = 512
    """From one client address, or one IPv6 /64 (one customer); a NAT with many agents behind it needs hundreds."""
    max_preauth: int = 1024
    """Connections that are not established yet; from half of it on, newcomers are dropped at random with
    rising probability, so that a flood does not shut everyone else out (as OpenSSH's MaxStartups)."""


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


@attrs.define(eq=False)
class ConnectionLimiter:
    """Counts connections against :class:`ConnectionLimits`. Synchronous, so it needs no lock.

    ``chance`` gives numbers in [0, 1) for the random early drop.
    """

    limits: ConnectionLimits = attrs.Factory(ConnectionLimits)
    chance: Callable[[], float] = random.random
    speaks_for_others: Callable[[str], bool] = attrs.field(default=lambda _ip: False)
    """Says which addresses are balancers, whose connections are many clients': no limit for the one address (C7)."""
    _per_ip: collections.Counter[str] = attrs.field(factory=collections.Counter, init=False)
    _connections: int = attrs.field(default=0, init=False)
    _preauth: int = attrs.field(default=0, init=False)
    _refused: int = attrs.field(default=0, init=False)

    def admit(self, client_ip: str) -> str | None:
        """Count a new connection and return None, or count nothing and return why it is refused."""
        reason = self._objection(client_ip)
        if reason is not None:
            self._refused += 1
            return reason
        self._connections += 1
        self._preauth += 1
        self._per_ip[source_of(client_ip)] += 1
        return None

    def _objection(self, client_ip: str) -> str | None:
        limits = self.limits
        if self._connections >= limits.max_connections:
            return f"{self._connections} connections are open (limit {limits.max_connections})"
        crowd = self._crowd(client_ip)
        if crowd is not None:
            return crowd
        start = limits.max_preauth // 2
        over = self._preauth - start
        if over >= 0 and self.chance() * (limits.max_preauth - start) <= over:
            return f"{self._preauth} connections are still authenticating (limit {limits.max_preauth})"
        return None

    def _crowd(self, client_ip: str) -> str | None:
        limit, from_here = self.limits.max_connections_per_ip, self._per_ip.get(source_of(client_ip), 0)
        if from_here < limit or self.speaks_for_others(client_ip):
            return None
        return f"{from_here} connections from this address (limit {limit})"

    def move(self, counted_ip: str, client_ip: str) -> str | None:
        """A balancer has said whose connection it is: count it there, or count nothing new and return why not."""
        reason = self._crowd(client_ip)
        if reason is not None:
            self._refused += 1
            return reason
        self._per_ip[source_of(client_ip)] += 1
        self._forget(counted_ip)
        return None

    def established(self) -> None:
        """One connection is no longer unauthenticated. Exactly once per connection."""
        self._preauth -= 1

    def release(self, client_ip: str, *, was_established: bool) -> None:
        """A connection admitted for ``client_ip`` is gone."""
        self._connections -= 1
        if not was_established:
            self._preauth -= 1
        self._forget(client_ip)

    def _forget(self, client_ip: str) -> None:
        source = source_of(client_ip)
        self._per_ip[source] -= 1
        if not self._per_ip[source]:
            del self._per_ip[source]

    def statistics(self) -> LimiterStatistics:
        """The counters now."""
        return LimiterStatistics(
            connections=self._connections,
            preauth=self._preauth,
            addresses=len(self._per_ip),
            refused=self._refused,
        )


class BudgetExceededError(Exception):
    """A peer sent more than its budget before it was established."""


class BudgetedStream(trio.abc.HalfCloseableStream):
    """``stream``, of which at most ``budget`` bytes can be received until :meth:`lift` is called.

    What arrives beyond raises :exc:`BudgetExceededError`.
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
        # One byte more than allowed tells "exactly at the limit" from "over it".
        ceiling = self._left + 1
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
