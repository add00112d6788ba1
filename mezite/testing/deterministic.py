# SPDX-License-Identifier: Apache-2.0
"""Run Trio code so that a seed decides everything: the order of tasks, the time, and so the outcome.

Trio shuffles each batch of runnable tasks on purpose. With its generator seeded and its private switch for
deterministic batches set, the same seed gives the same interleaving and another seed another one: one knob
for replay and for searching interleavings. Both names are private to Trio, so this is the only module that
touches them, and ``tests/testing/test_deterministic.py`` is the canary that a new Trio still obeys.

What a seed cannot fix, simulated code must avoid: threads, real sockets, ``os.urandom``, the wall clock, and
iteration over sets of ``str`` or ``bytes`` (their order changes with ``PYTHONHASHSEED``; run long simulations
with ``PYTHONHASHSEED=0`` to replay a failure in another process).
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, TypeVarTuple

import attrs
import trio
import trio.testing

__all__ = ["RunTrace", "run_deterministic"]

ResultT = TypeVar("ResultT")
Ts = TypeVarTuple("Ts")

#: How many last steps a trace keeps in words: enough to see what led to a failure.
TAIL_STEPS = 200


@attrs.frozen
class RunTrace:
    """What happened in a run, step by step."""

    digest: str
    """SHA-256 over every step (time and task); equal digests mean equal interleavings"""
    steps: int
    """task steps taken"""
    seconds: float
    """simulated seconds"""
    tail: tuple[str, ...] = attrs.field(eq=False)
    """the last steps in words"""


class _Recorder(trio.abc.Instrument):
    def __init__(self, clock: trio.testing.MockClock) -> None:
        self._clock = clock
        self._digest = hashlib.sha256()
        self._tail: deque[tuple[float, str]] = deque(maxlen=TAIL_STEPS)
        self._started: float | None = None
        self._last = 0.0
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        now = self._clock.current_time()
        if self._started is None:
            # A MockClock starts at an arbitrary time; only differences mean something.
            self._started = now
        self._last = now - self._started
        self.steps += 1
        self._tail.append((self._last, task.name))
        self._digest.update(b"%.6f %b\n" % (self._last, task.name.encode()))

    def trace(self) -> RunTrace:
        tail = tuple(f"{at:.6f} {name}" for at, name in self._tail)
        return RunTrace(self._digest.hexdigest(), self.steps, self._last, tail)


class _Dice:
    """Seeded for the thread that made it. A Trio run in another thread goes on with ``others``: the scheduler's
    generator belongs to the process, and each number that another run took would be missing here.
    """

    def __init__(self, seed: int, others: random.Random) -> None:
        self._thread = threading.get_ident()
        self._seeded = random.Random(seed)  # noqa: S311 - for replay
        self._others = others

    def __getattr__(self, name: str) -> Any:
        return getattr(self._seeded if threading.get_ident() == self._thread else self._others, name)


def run_deterministic(
    async_fn: Callable[[*Ts], Awaitable[ResultT]], *args: *Ts, seed: int
) -> tuple[ResultT, RunTrace]:
    """``trio.run(async_fn, *args)`` on a clock that jumps ahead, scheduled by ``seed``.

    Not to be called inside Trio. Whatever ``async_fn`` raises comes out, with the seed and the last steps
    added as a note. Trio's scheduler is left as it was found.
    """
    clock = trio.testing.MockClock(autojump_threshold=0)
    recorder = _Recorder(clock)
    scheduler: Any = trio._core._run
    before = scheduler._r, scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    scheduler._r = _Dice(seed, before[0])
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        result = trio.run(async_fn, *args, clock=clock, instruments=[recorder])
    except BaseException as error:
        trace = recorder.trace()
        error.add_note(f"seed {seed}, step {trace.steps}, {trace.seconds:.3f} simulated s; last steps:")
        error.add_note("\n".join(trace.tail[-20:]))
        raise
    finally:
        scheduler._r, scheduler._ALLOW_DETERMINISTIC_SCHEDULING = before
    return result, recorder.trace()
