# SPDX-License-Identifier: Apache-2.0
"""From a thread to Trio: a bounded queue of items, and a way to wake tasks."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable

import trio

__all__ = ["Mailbox", "TrioWaker"]

#: What waits for the Trio task, by size; far more than one burst of packets.
ITEM_BYTES = 1024 * 1024
#: Each item counts this much besides its size, so that small ones are bounded too.
_ITEM_OVERHEAD = 64


class TrioWaker:
    """Runs functions in the Trio thread it was made in: at once when called there, soon from elsewhere.

    Equal functions that are still waiting run once, so a burst costs one wake-up. They must not raise.
    Nothing happens when Trio has ended.
    """

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._thread = threading.get_ident()

    def __call__(self, function: Callable[[], object]) -> None:
        """Run ``function``."""
        if threading.get_ident() == self._thread:
            function()
            return
        with contextlib.suppress(trio.RunFinishedError):
            self._token.run_sync_soon(function, idempotent=True)


class Mailbox:
    """A queue that blocks the thread that delivers, never the Trio task that receives."""

    def __init__(self, wake: TrioWaker) -> None:
        self._wake = wake
        self._condition = threading.Condition(threading.Lock())
        self._items: deque[object] = deque()
        self._size = 0
        self._open = True
        self._arrived = trio.Event()

    def deliver(self, item: object, size: int = 0) -> None:
        """Hand ``item`` over; blocks the calling thread while too much waits.

        After :meth:`close` items are still taken, without blocking: the last one says why it ended.
        """
        with self._condition:
            while self._size >= ITEM_BYTES and self._open:
                self._condition.wait()
            first = not self._items
            self._items.append(item)
            self._size += size + _ITEM_OVERHEAD
        if first:  # otherwise the task has been told already, and each wake-up costs a system call
            self._wake(self._tell)

    def close(self) -> None:
        """Nobody needs to be held back any more. From any thread."""
        with self._condition:
            self._open = False
            self._condition.notify_all()

    async def receive(self) -> list[object]:
        """All items delivered so far, at least one. Cancelling loses none."""
        while True:
            with self._condition:
                if self._items:
                    items = list(self._items)
                    self._items.clear()
                    self._size = 0
                    self._condition.notify_all()
                    return items
                self._arrived = trio.Event()
            await self._arrived.wait()

    def _tell(self) -> None:
        self._arrived.set()
