# SPDX-License-Identifier: Apache-2.0
import random
import resource
import subprocess
import sys

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from mezite.net.connection_limits import (
    BudgetedStream,
    BudgetExceededError,
    ConnectionLimiter,
    ConnectionLimits,
)
from mezite.testing.memory_network import MemoryNetwork, MemoryStream


async def connect() -> tuple[MemoryStream, MemoryStream]:
    async with (network := MemoryNetwork()).listen("hub:1") as listener:
        return await network.dial("hub:1"), await listener.accept()


def test_the_total_is_bounded() -> None:
    limiter = ConnectionLimiter(ConnectionLimits(max_connections=2))
    assert limiter.admit("192.0.2.1") is None
    assert limiter.admit("192.0.2.2") is None
    assert "limit 2" in (limiter.admit("192.0.2.3") or "")
    limiter.release("192.0.2.1", was_established=False)
    assert limiter.admit("192.0.2.3") is None
    assert limiter.statistics().refused == 1


def test_one_address_cannot_take_everything() -> None:
    limiter = ConnectionLimiter(ConnectionLimits(max_connections_per_ip=2))
    assert [limiter.admit("192.0.2.1") for _ in range(2)] == [None, None]
    assert "from this address" in (limiter.admit("192.0.2.1") or "")
    assert limiter.admit("192.0.2.2") is None


def test_a_flood_of_strangers_is_thinned_out_before_the_limit() -> None:
    """A11: random early drop, as OpenSSH's MaxStartups; established connections do not count."""
    limiter = ConnectionLimiter(ConnectionLimits(max_preauth=100), random.Random(1).random)
    admitted = sum(limiter.admit(f"a{number}") is None for number in range(1000))
    assert 50 < admitted <= 100
    assert limiter.statistics().preauth == admitted
    for number in range(50):
        limiter.established()
        assert limiter.statistics().preauth == admitted - number - 1
    assert limiter.admit("late") is None


def test_the_hard_limit_holds_whatever_chance_says() -> None:
    limiter = ConnectionLimiter(ConnectionLimits(max_preauth=10), lambda: 0.999999)
    assert sum(limiter.admit(f"a{number}") is None for number in range(100)) == 10


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans(), st.booleans()), max_size=60))
def test_counters_return_to_zero(moves: list[tuple[str, bool, bool]]) -> None:
    """A11: the pre-auth counter never latches shut."""
    limiter = ConnectionLimiter(ConnectionLimits(max_connections=8, max_connections_per_ip=4, max_preauth=6))
    open_now: list[tuple[str, bool]] = []
    for address, establish, close in moves:
        if limiter.admit(address) is None:
            if establish:
                limiter.established()
            open_now.append((address, establish))
        if close and open_now:
            gone, was_established = open_now.pop(0)
            limiter.release(gone, was_established=was_established)
        assert limiter.statistics().connections == len(open_now)
    for gone, was_established in open_now:
        limiter.release(gone, was_established=was_established)
    statistics = limiter.statistics()
    assert (statistics.connections, statistics.preauth, statistics.addresses) == (0, 0, 0)


async def test_budgeted_streams_pass_the_conformity_suite() -> None:
    async def make() -> tuple[BudgetedStream, BudgetedStream]:
        a, b = await connect()
        return BudgetedStream(a, 10**8), BudgetedStream(b, 10**8)

    await trio.testing.check_half_closeable_stream(make, None)


async def test_a_budget_is_exact() -> None:
    a, b = await connect()
    stream = BudgetedStream(b, 10)
    assert stream.stream is b
    assert stream.can_send_eof
    await a.send_all(b"0123456789")
    assert await stream.receive_some() == b"0123456789"
    await a.send_all(b"!")
    with pytest.raises(BudgetExceededError):
        await stream.receive_some(100)


async def test_lifting_while_a_receive_waits_applies_at_once() -> None:
    a, b = await connect()
    stream = BudgetedStream(b, 3)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive() -> None:
            assert await stream.receive_some() == b"long"
            assert await stream.receive_some() == b" story"

        await trio.testing.wait_all_tasks_blocked()
        stream.lift()
        await a.send_all(b"long story")


async def test_half_close_needs_a_stream_that_can() -> None:
    left, _ = trio.testing.memory_stream_pair()
    stream = BudgetedStream(trio.StapledStream(left.send_stream, left.receive_stream), 5)
    assert stream.can_send_eof

    class Whole(trio.abc.Stream):
        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            return b""

        async def send_all(self, data: bytes | bytearray | memoryview) -> None: ...

        async def wait_send_all_might_not_block(self) -> None: ...

        async def aclose(self) -> None: ...

    with pytest.raises(TypeError, match="cannot half-close"):
        await BudgetedStream(Whole(), 5).send_eof()


def test_the_descriptor_limit_is_raised_to_the_hard_one() -> None:
    """P14; in a process of its own, the limit cannot be lowered again without side effects."""
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200));"
        "from mezite.net.connection_limits import raise_descriptor_limit as r;"
        "print(r(), r(), resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "160 160 (200, 200)"
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] != 200
