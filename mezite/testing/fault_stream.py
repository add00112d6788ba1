# SPDX-License-Identifier: Apache-2.0
"""A stream that treats its user as badly as a network can, reproducibly.

Splits reads and writes at any byte, delays, stalls, cuts in the middle of a write, resets, goes half-open.
All decisions come from the ``random.Random`` it is given, so under ``mezite.testing.deterministic`` a failure
replays from its seed.
"""

from __future__ import annotations

import random

import attrs
import trio

__all__ = ["FaultPlan", "FaultStream"]


@attrs.frozen(kw_only=True)
class FaultPlan:
    """How likely what is, per receive or send. The default does nothing but pass bytes on."""

    split: float = 0.0
    """an operation is cut into pieces: a receive gets fewer bytes, a send goes out in several writes"""
    max_piece: int = 64
    """largest piece of a split, in bytes"""
    delay: float = 0.0
    """an operation waits first"""
    max_delay: float = 0.05
    """longest such wait, in seconds"""
    stall: float = 0.0
    """an operation waits for ``stall_seconds``"""
    stall_seconds: float = 20.0
    """longer than a tunnel's 15 s of silence, so that the other side has to act"""
    cut: float = 0.0
    """a send passes on a prefix (maybe nothing, maybe all) and then the connection is gone"""
    reset: float = 0.0
    """an operation fails and the connection is gone"""
    half_open: float = 0.0
    """from here on sends vanish and receives never return, without any error"""


class FaultStream(trio.abc.HalfCloseableStream):
    """``stream``, which it owns, under ``plan``, decided by ``rng``.

    :meth:`break_now` and :meth:`go_half_open` force a fault from outside.
    """

    def __init__(self, stream: trio.abc.HalfCloseableStream, plan: FaultPlan, rng: random.Random) -> None:
        self._stream = stream
        self._plan = plan
        self._rng = rng
        self._half_open = False
        self._reset = False
        self._closed = False
        self._changed = trio.Event()

    @property
    def stream(self) -> trio.abc.HalfCloseableStream:
        """The stream underneath."""
        return self._stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As the stream underneath, under the plan."""
        await self._before()
        if self._hits(self._plan.split):
            piece = self._rng.randint(1, self._plan.max_piece)
            max_bytes = piece if max_bytes is None else min(piece, max_bytes)
        data = await self._stream.receive_some(max_bytes)
        # Half-open while waiting: the data is lost on the way, and nothing else comes.
        await self._wait_if_half_open()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As the stream underneath, under the plan; cancelled, an unknown prefix was sent."""
        await self._before()
        if self._half_open:
            return
        view = memoryview(bytes(data))
        if self._hits(self._plan.cut):
            await self._stream.send_all(view[: self._rng.randint(0, len(view))])
            await self.break_now()
            raise trio.BrokenResourceError("fault: cut in the middle of a write")
        if not self._hits(self._plan.split):
            await self._stream.send_all(view)
            return
        while view:
            piece = self._rng.randint(1, self._plan.max_piece)
            # The rest of a long write goes in one piece: splitting megabytes into bytes proves nothing more.
            if len(view) > 64 * self._plan.max_piece:
                piece = len(view) - self._plan.max_piece
            await self._stream.send_all(view[:piece])
            view = view[piece:]

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream underneath."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """As the stream underneath, under the plan."""
        await self._before()
        if not self._half_open:
            await self._stream.send_eof()

    async def break_now(self) -> None:
        """Both ends see an error from now on (this one at once, the other when the transport tells it)."""
        self._reset = True
        self._changed.set()
        await trio.aclose_forcefully(self._stream)

    def go_half_open(self) -> None:
        """From now on nothing gets through and nobody is told."""
        self._half_open = True

    async def aclose(self) -> None:
        """Close the stream underneath, also when half-open."""
        self._closed = True
        self._changed.set()
        await self._stream.aclose()

    def _hits(self, probability: float) -> bool:
        # No draw for what cannot happen, so that plans which differ in one fault stay comparable.
        return probability > 0 and self._rng.random() < probability

    async def _before(self) -> None:
        self._check()
        plan = self._plan
        if self._hits(plan.delay):
            await trio.sleep(self._rng.random() * plan.max_delay)
        if self._hits(plan.stall):
            await trio.sleep(plan.stall_seconds)
        if self._hits(plan.reset):
            await self.break_now()
        if self._hits(plan.half_open):
            self.go_half_open()
        self._check()

    async def _wait_if_half_open(self) -> None:
        while self._half_open:
            await self._changed.wait()
            self._check()

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("stream was closed here")
        if self._reset:
            raise trio.BrokenResourceError("fault: connection reset")
