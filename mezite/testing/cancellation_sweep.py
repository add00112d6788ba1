# SPDX-License-Identifier: Apache-2.0
"""Cancel a piece of code at its first await, its second, its third, until it finishes before that.

The sweep is to cancellation what running out of memory at the nth allocation is to C: after each run the test
checks that what must hold holds and nothing is left behind (threats P1, P6).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import attrs
import trio

__all__ = ["CancelPoint", "cancel_points", "run_cancelled_at"]

#: A sweep that has not come to an end by then is a loop that never does.
MAX_POINTS = 10_000


@attrs.define(eq=False)
class _Canceller(trio.abc.Instrument):
    task: trio.lowlevel.Task
    scope: trio.CancelScope
    steps_left: int

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        # After the step the task hangs in an await, so that very await is cancelled.
        if task is self.task:
            self.steps_left -= 1
            if self.steps_left == 0:
                self.scope.cancel()


async def run_cancelled_at(point: int, async_fn: Callable[[], Awaitable[object]]) -> bool:
    """Run ``async_fn()`` here and cancel it at its ``point``-th await that yields (from 1).

    Returns whether it was cancelled; False means that it ended first, and the sweep is over.
    Awaits of tasks it starts are not counted.
    """
    with trio.CancelScope() as scope:
        canceller = _Canceller(trio.lowlevel.current_task(), scope, point)
        trio.lowlevel.add_instrument(canceller)
        try:
            await async_fn()
        finally:
            trio.lowlevel.remove_instrument(canceller)
    return canceller.steps_left <= 0


@attrs.define(eq=False)
class CancelPoint:
    """One run of a sweep."""

    number: int
    """which await is cancelled, from 1"""
    cancelled: bool = False
    """whether :meth:`run` was cut short"""

    async def run(self, async_fn: Callable[[], Awaitable[object]]) -> None:
        """Run ``async_fn()`` and cancel it at this point."""
        self.cancelled = await run_cancelled_at(self.number, async_fn)


def cancel_points() -> Iterator[CancelPoint]:
    """The points of a sweep; ends after the first run that was not cancelled.

    Use it as ``for point in cancel_points(): ...; await point.run(victim); ...checks...``

    Raises :exc:`RuntimeError` when the end does not come.
    """
    for number in range(1, MAX_POINTS + 1):
        point = CancelPoint(number)
        yield point
        if not point.cancelled:
            return
    raise RuntimeError(f"still cancellable after {MAX_POINTS} points")
