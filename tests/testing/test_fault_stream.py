# SPDX-License-Identifier: Apache-2.0
import random

import pytest
import trio
import trio.testing

from mezite.testing.fault_stream import FaultPlan, FaultStream
from mezite.testing.memory_network import MemoryNetwork, MemoryStream


async def connect(plan: FaultPlan, seed: int = 1) -> tuple[FaultStream, MemoryStream]:
    network = MemoryNetwork()
    async with network.listen("hub:1") as listener:
        dialled = await network.dial("hub:1", source="agent")
        return FaultStream(dialled, plan, random.Random(seed)), await listener.accept()


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    got = bytearray()
    while data := await stream.receive_some():
        got += data
    return bytes(got)


async def test_an_empty_plan_is_a_proper_stream() -> None:
    async def make() -> tuple[FaultStream, FaultStream]:
        a, b = await connect(FaultPlan())
        return a, FaultStream(b, FaultPlan(), random.Random(2))

    await trio.testing.check_half_closeable_stream(make, None)


@pytest.mark.parametrize("size", [0, 1, 63, 5000])
async def test_splits_and_delays_lose_nothing(size: int, autojump_clock: trio.testing.MockClock) -> None:
    plan = FaultPlan(split=1.0, max_piece=7, delay=0.5)
    a, b = await connect(plan)
    faulty_b = FaultStream(b, plan, random.Random(3))
    data = random.Random(4).randbytes(size)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            await a.send_all(data)
            await a.send_eof()

        assert await read_all(faulty_b) == data
        assert a.stream is not None


async def test_a_split_receive_keeps_the_callers_limit() -> None:
    a, b = await connect(FaultPlan(split=1.0, max_piece=50))
    await b.send_all(bytes(100))
    for _ in range(10):
        assert len(await a.receive_some(3)) <= 3
    assert len(await a.receive_some()) <= 50


async def test_a_cut_passes_a_prefix_on_and_ends_the_connection() -> None:
    prefixes = set()
    for seed in range(10):
        a, b = await connect(FaultPlan(cut=1.0), seed)
        with pytest.raises(trio.BrokenResourceError, match="cut"):
            await a.send_all(b"abcdefgh")
        got = await read_all(b)
        assert b"abcdefgh".startswith(got)
        prefixes.add(got)
        with pytest.raises(trio.BrokenResourceError):
            await a.receive_some()
    assert len(prefixes) > 3


async def test_a_reset_plan_fails_the_operation() -> None:
    a, b = await connect(FaultPlan(reset=1.0))
    with pytest.raises(trio.BrokenResourceError):
        await a.receive_some()
    assert await b.receive_some() == b""


async def test_a_stall_outlasts_the_silence_a_tunnel_accepts(autojump_clock: trio.testing.MockClock) -> None:
    a, b = await connect(FaultPlan(stall=1.0))
    start = trio.current_time()
    await a.send_all(b"x")
    assert trio.current_time() - start == pytest.approx(20)
    assert await b.receive_some() == b"x"


async def test_half_open_swallows_both_ways_until_closed(autojump_clock: trio.testing.MockClock) -> None:
    a, b = await connect(FaultPlan(half_open=1.0))
    await a.send_all(b"swallowed")
    await a.send_eof()
    await b.send_all(b"never seen")
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await a.receive_some()

        await trio.sleep(1000)
        await a.aclose()
    assert await read_all(b) == b""


async def test_forced_half_open_and_reset() -> None:
    a, _b = await connect(FaultPlan())
    await a.wait_send_all_might_not_block()
    a.go_half_open()
    await a.send_all(b"swallowed")
    await a.break_now()
    with pytest.raises(trio.BrokenResourceError):
        await a.send_all(b"x")


async def test_the_same_seed_gives_the_same_faults(autojump_clock: trio.testing.MockClock) -> None:
    async def pieces(seed: int) -> list[int]:
        a, b = await connect(FaultPlan(split=0.5, max_piece=9), seed)
        await b.send_all(bytes(300))
        return [len(await a.receive_some(8)) for _ in range(20)]

    assert await pieces(5) == await pieces(5)
    assert await pieces(5) != await pieces(6)
