# SPDX-License-Identifier: Apache-2.0
"""Turns at something expensive that strangers may ask for: bounded, and fair between the sources they come from.

A password check costs tens of milliseconds and 64 MiB by design. In a plain queue a single client that sends four
hundred guesses at once keeps everybody else from logging in for as long as they take.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

__all__ = ["FairTurns", "TooManyWaitingError"]


class TooManyWaitingError(Exception):
    """So many wait already that this one would wait too long."""


@attrs.define(eq=False, kw_only=True)
class FairTurns:
    """At most `running` at a time; the others wait, and sources take turns, however much one of them asks for."""

    running: int = 4
    """Twice as many as hashes are made at once, so that the database is asked meanwhile."""
    waiting: int = 128
    """At 50 ms for two, the last one waits three seconds: longer, and people try again anyway."""
    waiting_per_source: int = 16
    """An office behind one address has its share, a guesser not more than that."""
    _held: int = attrs.field(default=0, init=False)
    _count: int = attrs.field(default=0, init=False)
    _queues: dict[str, deque[trio.Event]] = attrs.field(factory=dict, init=False)

    @asynccontextmanager
    async def turn(self, source: str) -> AsyncIterator[None]:
        """Wait for a turn and have it for the duration of the block. Cancelling while waiting leaves nothing behind.

        :raises TooManyWaitingError: too many wait, of this source or in all.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._held < self.running:
            self._held += 1
        else:
            await self._wait(source)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, source: str) -> None:
        queue = self._queues.get(source, deque())
        if self._count >= self.waiting or len(queue) >= self.waiting_per_source:
            raise TooManyWaitingError
        granted = trio.Event()
        queue.append(granted)
        self._queues[source] = queue
        self._count += 1
        try:
            await granted.wait()
        except trio.Cancelled:
            self._withdraw(source, granted)
            raise

    def _withdraw(self, source: str, granted: trio.Event) -> None:
        if granted.is_set():
            # Granted between the cancellation and its delivery: somebody else's then.
            self._pass_on()
            return
        queue = self._queues[source]
        queue.remove(granted)
        self._count -= 1
        if not queue:
            del self._queues[source]

    def _pass_on(self) -> None:
        """The turn goes to the source that has waited longest since its last one."""
        if not self._queues:
            self._held -= 1
            return
        source, queue = next(iter(self._queues.items()))
        del self._queues[source]
        granted = queue.popleft()
        self._count -= 1
        if queue:
            self._queues[source] = queue
        granted.set()
