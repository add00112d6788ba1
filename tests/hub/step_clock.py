# SPDX-License-Identifier: Apache-2.0
"""How long tasks keep the event loop to themselves."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio


@attrs.define(eq=False)
class StepClock(trio.abc.Instrument):
    """Measures each step of each task, from one await to the next.

    In processor time of the loop's own thread: on a busy machine a step takes as long as others let it, which is not
    its fault. What a step *waits* for outside of the loop (a blocking call) does not show; ruff's ASYNC rules and
    tests/test_async_dangers.py read the code for that.
    """

    longest: dict[str, float] = attrs.field(factory=dict)
    """Seconds, by name of the task."""
    _began: float = math.inf
    """The step that the clock is started in is not measured."""

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began = time.thread_time()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        taken = time.thread_time() - self._began
        self._began = math.inf
        if taken > self.longest.get(task.name, 0.0):
            self.longest[task.name] = taken

    def longer_than(self, seconds: float) -> dict[str, float]:
        return {name: taken for name, taken in self.longest.items() if taken > seconds}


@contextmanager
def step_clock() -> Iterator[StepClock]:
    """For the length of the block."""
    clock = StepClock()
    trio.lowlevel.add_instrument(clock)
    try:
        yield clock
    finally:
        trio.lowlevel.remove_instrument(clock)
