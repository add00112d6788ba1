# SPDX-License-Identifier: Apache-2.0
import trio
import trio.testing

from mezite.net.http1_limits import DrainSignal, Http1Limits


async def test_draining_wakes_those_who_wait_and_those_who_come() -> None:
    drain = DrainSignal()
    woken: list[int] = []

    async def wait(number: int) -> None:
        with drain.idle():
            await trio.sleep_forever()
        woken.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(wait, number)
        await trio.testing.wait_all_tasks_blocked()
        assert not drain.started
        drain.start()
    await wait(3)
    assert sorted(woken) == [0, 1, 2, 3]


def test_the_limits_of_the_design() -> None:
    """D14."""
    limits = Http1Limits()
    assert (limits.header_seconds, limits.idle_seconds, limits.write_stall_seconds) == (10, 60, 15)
    assert (limits.body_bytes, limits.body_rate, limits.write_rate) == (1024 * 1024, 1024, 1024)
