# SPDX-License-Identifier: Apache-2.0
"""The canary: a Trio whose scheduler no longer obeys a seed fails here first."""

import sys
import threading

import pytest
import trio

from mezite.testing.deterministic import run_deterministic


async def racing_tasks(width: int) -> list[int]:
    order: list[int] = []

    async def racer(number: int) -> None:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            order.append(number)
            await trio.sleep(number % 3)

    async with trio.open_nursery() as nursery:
        for number in range(width):
            nursery.start_soon(racer, number)
    return order


def test_same_seed_gives_the_same_trace_and_result() -> None:
    runs = [run_deterministic(racing_tasks, 8, seed=7) for _ in range(5)]
    assert len({trace.digest for _, trace in runs}) == 1
    assert len({tuple(order) for order, _ in runs}) == 1
    assert runs[0][1] == runs[4][1]


def test_different_seeds_search_different_interleavings() -> None:
    orders = {tuple(run_deterministic(racing_tasks, 8, seed=seed)[0]) for seed in range(20)}
    assert len(orders) == 20


def test_a_run_in_another_thread_takes_no_numbers_from_ours() -> None:
    """A session's hub in a thread of its own once made one simulation in many another one."""
    ready, stop = threading.Event(), threading.Event()

    async def spin() -> None:
        while not stop.is_set():
            await trio.lowlevel.checkpoint()

    async def others() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spin)
            nursery.start_soon(spin)
            ready.set()

    thread = threading.Thread(target=trio.run, args=(others,))
    thread.start()
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        assert ready.wait(10)
        traces = {run_deterministic(racing_tasks, 60, seed=7)[1].digest for _ in range(60)}
    finally:
        sys.setswitchinterval(usual)
        stop.set()
        thread.join()
    assert len(traces) == 1


def test_time_is_simulated_and_counted() -> None:
    async def sleep_for_a_day() -> str:
        await trio.sleep(86400)
        return "done"

    result, trace = run_deterministic(sleep_for_a_day, seed=1)
    assert result == "done"
    assert trace.seconds == pytest.approx(86400)
    assert trace.steps > 0
    assert any("sleep_for_a_day" in line for line in trace.tail)


def test_a_failure_names_its_seed() -> None:
    async def fail() -> None:
        raise LookupError("broken invariant")

    with pytest.raises(LookupError, match="broken invariant") as caught:
        run_deterministic(fail, seed=1234)
    assert any("seed 1234" in note for note in caught.value.__notes__)


def test_the_scheduler_is_left_as_it_was() -> None:
    scheduler = trio._core._run
    before = scheduler._r.getstate(), scheduler._ALLOW_DETERMINISTIC_SCHEDULING
    run_deterministic(racing_tasks, 3, seed=1)
    assert (scheduler._r.getstate(), scheduler._ALLOW_DETERMINISTIC_SCHEDULING) == before
