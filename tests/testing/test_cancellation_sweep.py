# SPDX-License-Identifier: Apache-2.0
import pytest
import trio

from mezite.testing.cancellation_sweep import cancel_points, run_cancelled_at


async def test_each_await_is_cancelled_once() -> None:
    reached: list[int] = []

    async def three_awaits() -> None:
        for number in range(3):
            await trio.lowlevel.checkpoint()
            reached[-1] = number + 1

    for _point in (points := cancel_points()):
        reached.append(0)
        await _point.run(three_awaits)
    assert next(points, None) is None
    # A plain checkpoint is cancelled where it stands; the last run reaches the end.
    assert reached == [0, 1, 2, 3]


async def test_a_blocked_await_is_cancelled_where_it_blocks() -> None:
    event = trio.Event()
    assert await run_cancelled_at(1, event.wait)


async def test_other_tasks_are_not_counted() -> None:
    async def busy() -> None:
        for _ in range(50):
            await trio.lowlevel.checkpoint()

    async def victim() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(busy)

    assert not await run_cancelled_at(5, victim)


async def test_a_sweep_without_end_is_reported() -> None:
    def never_ends() -> None:
        for point in cancel_points():
            point.cancelled = True

    with pytest.raises(RuntimeError, match="still cancellable"):
        never_ends()
