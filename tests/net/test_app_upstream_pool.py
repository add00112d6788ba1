# SPDX-License-Identifier: Apache-2.0
import math

import trio
import trio.testing

from mezite.net.app_upstream import UpstreamConnection
from mezite.net.app_upstream_pool import PoolLimits, UpstreamPool


class Channel(trio.abc.AsyncResource):
    """As much of a channel as a pool looks at."""

    is_readable = False
    closed = False

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


def make() -> UpstreamConnection:
    return UpstreamConnection(stream=Channel(), agent="node-1")  # type: ignore[arg-type]


def closed(*connections: UpstreamConnection) -> list[bool]:
    return [connection.stream.closed for connection in connections]  # type: ignore[attr-defined]


async def test_the_last_one_is_taken_first_and_only_for_its_own_application() -> None:
    pool, one, two = UpstreamPool(), make(), make()
    await pool.give_back("a", one)
    await pool.give_back("a", two)
    assert len(pool) == 2
    assert await pool.take("b", replayable=True) is None
    assert await pool.take("a", replayable=True) is two
    assert await pool.take("a", replayable=True) is one
    assert await pool.take("a", replayable=True) is None
    assert closed(one, two) == [False, False]
    assert len(pool) == 0


async def test_what_is_old_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    pool, old, young = UpstreamPool(PoolLimits(idle_seconds=4, risky_idle_seconds=1)), make(), make()
    await pool.give_back("a", old)
    await trio.sleep(3)
    await pool.give_back("a", young)
    await trio.sleep(2)
    assert await pool.take("a", replayable=False) is None
    assert closed(old, young) == [True, True]
    assert len(pool) == 0


async def test_a_request_that_may_be_repeated_takes_a_risk(autojump_clock: trio.testing.MockClock) -> None:
    pool, one = UpstreamPool(PoolLimits(idle_seconds=4, risky_idle_seconds=1)), make()
    await pool.give_back("a", one)
    await trio.sleep(2)
    assert await pool.take("a", replayable=True) is one


async def test_what_has_something_to_say_is_over() -> None:
    """D1: whatever it says, nobody has asked for it."""
    pool, one, two = UpstreamPool(), make(), make()
    await pool.give_back("a", one)
    await pool.give_back("a", two)
    two.stream.is_readable = True  # type: ignore[attr-defined]
    assert await pool.take("a", replayable=True) is one
    assert closed(one, two) == [False, True]


async def test_there_are_never_too_many() -> None:
    pool = UpstreamPool(PoolLimits(per_key=2, total=3))
    connections = [make() for _ in range(5)]
    for connection, key in zip(connections, "aaabb", strict=True):
        await pool.give_back(key, connection)
    assert closed(*connections) == [False, False, True, False, True]
    assert len(pool) == 3


async def test_what_nobody_asks_for_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    pool, one, two, three = UpstreamPool(PoolLimits(idle_seconds=4)), make(), make(), make()
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        await pool.give_back("a", one)
        await trio.sleep(3)
        await pool.give_back("a", two)
        await pool.give_back("b", three)
        three.stream.is_readable = True  # type: ignore[attr-defined]
        await trio.sleep(2.5)
        assert closed(one, two, three) == [True, False, True]
        assert len(pool) == 1
        two.idle_since = math.inf
        nursery.cancel_scope.cancel()
    assert closed(two) == [False]
    two.idle_since = 0
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        nursery.cancel_scope.cancel()
    assert closed(two) == [True]
    assert len(pool) == 0
