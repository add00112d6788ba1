# SPDX-License-Identifier: Apache-2.0
import contextlib
import random
import resource
import subprocess
import sys
from functools import partial

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from mezite.net.connection_limits import (
    Admission,
    BudgetedStream,
    BudgetExceededError,
    ConnectionLimiter,
    ConnectionLimits,
    TooManyConnectionsError,
)
from mezite.testing.memory_network import MemoryNetwork, MemoryStream


async def connect() -> tuple[MemoryStream, MemoryStream]:
    async with (network := MemoryNetwork()).listen("hub:1") as listener:
        return await network.dial("hub:1"), await listener.accept()


def test_the_total_is_bounded() -> None:
    limiter = ConnectionLimiter(ConnectionLimits(max_connections=2))
    first = limiter.admit("192.0.2.1")
    limiter.admit("192.0.2.2")
    with pytest.raises(TooManyConnectionsError, match="limit 2"):
        limiter.admit("192.0.2.3")
    first.release()
    first.release()
    limiter.admit("192.0.2.3")
    assert limiter.statistics().refused == 1


def test_one_address_cannot_take_everything() -> None:
    limiter = ConnectionLimiter(ConnectionLimits(max_connections_per_ip=2))
    first, _second = (limiter.admit("192.0.2.1") for _ in range(2))
    first.established()
    with pytest.raises(TooManyConnectionsError, match="from this address"):
        limiter.admit("192.0.2.1")
    other = limiter.admit("192.0.2.2")
    with pytest.raises(TooManyConnectionsError, match="from this address"):
        other.move("192.0.2.1")
    first.move("192.0.2.3")
    other.move("192.0.2.1")
    assert limiter.statistics().addresses == 2


def admitted(limiter: ConnectionLimiter, address: str, now: float = 0.0) -> bool:
    try:
        limiter.admit(address, now=now)
    except TooManyConnectionsError:
        return False
    return True


def test_a_flood_of_strangers_is_thinned_out_before_the_limit() -> None:
    """A11: random early drop, as OpenSSH's MaxStartups; established connections do not count."""
    limiter = ConnectionLimiter(ConnectionLimits(max_preauth=100), random.Random(1).random)
    let_in = []
    for number in range(1000):
        with contextlib.suppress(TooManyConnectionsError):
            let_in.append(limiter.admit(f"a{number}"))
    assert 50 < len(let_in) <= 100
    assert limiter.statistics().preauth == len(let_in)
    for number in range(50):
        let_in[number].established()
        assert limiter.statistics().preauth == len(let_in) - number - 1
    limiter.admit("late")


def test_the_hard_limit_holds_whatever_chance_says() -> None:
    limiter = ConnectionLimiter(ConnectionLimits(max_preauth=10), lambda: 0.999999)
    assert sum(admitted(limiter, f"a{number}") for number in range(100)) == 10


def test_hand_shakes_of_one_address_have_a_limit_of_their_own() -> None:
    """A11: a scanner does not fill the room, and what a balancer carries is not held against it (C7)."""
    limits = ConnectionLimits(max_preauth_per_ip=3)
    limiter = ConnectionLimiter(limits, speaks_for_others=lambda address: address == "balancer")
    first, *_others = (limiter.admit("scanner") for _ in range(3))
    with pytest.raises(TooManyConnectionsError, match="still authenticating"):
        limiter.admit("scanner")
    first.established()
    limiter.admit("scanner")
    assert sum(admitted(limiter, "balancer") for _ in range(10)) == 10


def test_a_newcomer_replaces_who_sits_there() -> None:
    """T8: two thousand silent connections do not keep an honest client out."""
    cut: list[int] = []
    limiter = ConnectionLimiter(ConnectionLimits(max_preauth=10), lambda: 0.0)
    for number in range(5):
        limiter.admit("sitter", cut=partial(cut.append, number))
    guest = limiter.admit("guest")
    assert cut == [0]
    guest.established()
    statistics = limiter.statistics()
    assert (statistics.connections, statistics.preauth, statistics.replaced, statistics.refused) == (
        6,
        4,
        1,
        0,
    )


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans(), st.booleans()), max_size=60))
def test_counters_return_to_zero(moves: list[tuple[str, bool, bool]]) -> None:
    """A11: the pre-auth counter never latches shut."""
    limiter = ConnectionLimiter(ConnectionLimits(max_connections=8, max_connections_per_ip=4, max_preauth=6))
    open_now: list[Admission] = []
    for address, establish, close in moves:
        with contextlib.suppress(TooManyConnectionsError):
            admission = limiter.admit(address)
            if establish:
                admission.established()
            open_now.append(admission)
        if close and open_now:
            open_now.pop(0).release()
        assert limiter.statistics().connections == len(open_now)
    for admission in open_now:
        admission.release()
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


async def test_what_nobody_has_to_read_costs_nothing() -> None:
    """An upload right behind a handshake: who needs no more than the budget to be established gets the rest."""
    a, b = await connect()
    stream = BudgetedStream(b, 10)
    await a.send_all(b"0123456789 and more")
    assert await stream.receive_some() == b"0123456789"
    stream.lift()
    assert await stream.receive_some() == b" and more"


async def test_the_end_may_come_at_the_end_of_a_budget() -> None:
    a, b = await connect()
    stream = BudgetedStream(b, 2)
    await a.send_all(b"01")
    await a.send_eof()
    assert await stream.receive_some() == b"01"
    assert await stream.receive_some() == b""


async def test_lifting_while_a_receive_waits_applies_at_once() -> None:
    a, b = await connect()
    stream = BudgetedStream(b, 3)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive() -> None:
            assert await stream.receive_some() == b"lon"
            assert await stream.receive_some() == b"g story"

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
