# SPDX-License-Identifier: Apache-2.0
"""Transfers whose every byte is known beforehand, so that any loss, repetition or exchange shows.

The promise under test: a stream delivers exactly the bytes that were sent, or its receiver sees an error. So a
receiver compares what comes with what must come, piece by piece, and an ordinary end before the last byte is a
violation like a wrong byte.
"""

from __future__ import annotations

import collections
import random
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio

from mezite.core.mux.header import ChannelHeader

__all__ = ["Journal", "Transfer", "TransferPlan", "choose_transfer"]

#: Longest sum of pauses in one transfer (seconds): interactive sessions that faults hit in the middle.
MAX_PAUSES = 40.0

#: A transfer that neither ended nor failed by then hangs: its pauses, the longest fault, a tunnel's 15 s of
#: silence twice (user and agent), and as much again.
HUNG_AFTER = 300.0


@attrs.define(eq=False)
class Journal:
    """What happened in a simulation."""

    counts: collections.Counter[str] = attrs.Factory(collections.Counter)
    violations: list[str] = attrs.Factory(list)
    _running: dict[object, tuple[str, float]] = attrs.Factory(dict)

    def violation(self, text: str) -> None:
        """A promise was broken."""
        self.violations.append(f"at {trio.current_time():.3f}: {text}")

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        """``name`` is at work; :meth:`older_than` finds it when it does not come to an end."""
        key = object()
        self._running[key] = name, trio.current_time()
        try:
            yield
        finally:
            del self._running[key]

    def older_than(self, seconds: float) -> list[str]:
        """What has been at work for longer."""
        limit = trio.current_time() - seconds
        return [name for name, since in self._running.values() if since < limit]


@attrs.frozen(kw_only=True)
class TransferPlan:
    """One transfer: ``up`` bytes to the agent and ``down`` bytes back, at the same time."""

    number: int
    up: int
    down: int
    pause: float
    """seconds between pieces, on average"""

    @property
    def header(self) -> ChannelHeader:
        """The channel that carries it; the agent's name goes into ``target``."""
        attributes = {name: str(getattr(self, name)) for name in ("number", "up", "down", "pause")}
        return ChannelHeader(kind="transfer", attributes=attributes)

    @classmethod
    def from_header(cls, header: ChannelHeader) -> TransferPlan:
        """The plan as the agent reads it."""
        values = header.attributes
        return cls(
            number=int(values["number"]),
            up=int(values["up"]),
            down=int(values["down"]),
            pause=float(values["pause"]),
        )


def choose_transfer(rng: random.Random, number: int) -> TransferPlan:
    """Mostly small, now and then larger than every window on the way."""
    sizes = (0, 1, 100, 3_000, 20_000, 60_000, 600_000)
    weights = (1, 2, 6, 6, 4, 2, 0.4)
    up, down = rng.choices(sizes, weights, k=2)
    pause = rng.choice((0.0, 0.0, 1.0, 5.0))
    return TransferPlan(number=number, up=up, down=down, pause=pause)


@attrs.define(eq=False)
class Transfer:
    """One end of a transfer on ``channel``."""

    plan: TransferPlan
    channel: trio.abc.HalfCloseableStream
    journal: Journal
    rng: random.Random
    at_agent: bool

    async def run(self) -> bool:
        """Send and receive everything; False when an error came instead. The channel is closed."""
        sent, expected = self._payload("up"), self._payload("down")
        if self.at_agent:
            sent, expected = expected, sent
        side = "agent" if self.at_agent else "user"
        complete = False
        try:
            with self.journal.running(f"transfer {self.plan.number} at the {side}"):
                async with self.channel, trio.open_nursery() as nursery:
                    nursery.start_soon(self._send, sent)
                    complete = await self._receive(expected)
        except* trio.BrokenResourceError:
            complete = False
        self.journal.counts[f"{side} transfers {'complete' if complete else 'failed'}"] += 1
        return complete

    def _payload(self, direction: str) -> bytes:
        rng = random.Random(f"{self.plan.number}/{direction}")  # noqa: S311 - both ends must know it
        return rng.randbytes(getattr(self.plan, direction))

    async def _send(self, data: bytes) -> None:
        pause_left = MAX_PAUSES
        at = 0
        while at < len(data):
            size = self.rng.choice((1, 100, 4_000, 70_000))
            await self.channel.send_all(data[at : at + size])
            at += size
            if self.plan.pause and pause_left > 0:
                pause = min(pause_left, self.rng.expovariate(1 / self.plan.pause))
                pause_left -= pause
                await trio.sleep(pause)
        await self.channel.send_eof()

    async def _receive(self, expected: bytes) -> bool:
        at = 0
        while data := await self.channel.receive_some():
            if data != expected[at : at + len(data)]:
                self.journal.violation(f"{self._name()} got wrong bytes at {at}")
                return False
            at += len(data)
        if at != len(expected):
            self.journal.violation(f"{self._name()} ended in peace after {at} of {len(expected)} bytes")
            return False
        self.journal.counts["bytes checked"] += at
        return True

    def _name(self) -> str:
        return f"transfer {self.plan.number} at the {'agent' if self.at_agent else 'user'}"
