# SPDX-License-Identifier: Apache-2.0
import random

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.mux.error_codes import ErrorCode
from mezite.net.byte_streams import (
    PushbackStream,
    RelayIdleError,
    RelayResult,
    abort_stream,
    can_send_eof,
    discard_unsent,
    relay,
)
from mezite.testing.fault_stream import FaultPlan, FaultStream
from mezite.testing.memory_network import MemoryNetwork, MemoryStream


async def connect() -> tuple[MemoryStream, MemoryStream]:
    async with (network := MemoryNetwork()).listen("hub:1") as listener:
        return await network.dial("hub:1"), await listener.accept()


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    got = bytearray()
    while data := await stream.receive_some():
        got += data
    return bytes(got)


class NoHalfClose(trio.abc.Stream):
    """A stream like a WebSocket: it can only be closed whole."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.stream.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.stream.aclose()


async def test_pushback_streams_pass_the_conformity_suite() -> None:
    async def make() -> tuple[PushbackStream, PushbackStream]:
        a, b = await connect()
        return PushbackStream(a), PushbackStream(b)

    await trio.testing.check_half_closeable_stream(make, None)


@given(
    front=st.lists(st.binary(max_size=20), max_size=4), tail=st.binary(max_size=20), step=st.integers(1, 9)
)
async def test_what_was_put_back_comes_first(front: list[bytes], tail: bytes, step: int) -> None:
    a, b = await connect()
    await a.send_all(tail)
    await a.send_eof()
    stream = PushbackStream(b, b"first")
    for piece in reversed(front):
        stream.push_back(piece)
    got = bytearray()
    while data := await stream.receive_some(step):
        assert len(data) <= step
        got += data
    assert got == b"".join(front) + b"first" + tail


async def test_pushback_checks_its_limit_and_drops_its_bytes_on_close() -> None:
    a, b = await connect()
    stream = PushbackStream(a, b"x")
    with pytest.raises(ValueError, match="at least 1"):
        await stream.receive_some(0)
    assert stream.stream is a
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some()
    assert await b.receive_some() == b""


async def test_half_close_is_only_promised_where_it_works() -> None:
    a, b = await connect()
    assert can_send_eof(PushbackStream(PushbackStream(a)))
    whole = PushbackStream(NoHalfClose(b))
    assert not can_send_eof(whole)
    with pytest.raises(TypeError, match="cannot half-close"):
        await whole.send_eof()


@pytest.mark.parametrize("split", [0.0, 0.5])
async def test_relay_carries_both_directions_whole(split: float) -> None:
    (left, a), (b, right) = await connect(), await connect()
    plan = FaultPlan(split=split, max_piece=3000)
    up, down = random.Random(1).randbytes(700_000), random.Random(2).randbytes(300_000)
    received: dict[str, bytes] = {}

    async def talk(name: str, stream: MemoryStream, data: bytes) -> None:
        async def send() -> None:
            await stream.send_all(data)
            await stream.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            received[name] = await read_all(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk, "left", left, up)
        nursery.start_soon(talk, "right", right, down)
        result = await relay(FaultStream(a, plan, random.Random(3)), FaultStream(b, plan, random.Random(4)))
    assert received == {"left": down, "right": up}
    assert result == RelayResult(a_to_b=700_000, b_to_a=300_000)
    assert a.closed
    assert b.closed


async def test_an_end_is_passed_on_while_the_other_direction_goes_on() -> None:
    (left, a), (b, right) = await connect(), await connect()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, a, b)
        await left.send_all(b"request")
        await left.send_eof()
        assert await read_all(right) == b"request"
        await right.send_all(b"answer after the end")
        await right.aclose()
        assert await read_all(left) == b"answer after the end"


async def test_where_half_close_is_impossible_the_end_of_one_is_the_end_of_all() -> None:
    (left, a), (b, right) = await connect(), await connect()
    await left.send_all(b"last words")
    await left.send_eof()
    result = await relay(a, NoHalfClose(b))
    assert result == RelayResult(a_to_b=10, b_to_a=0)
    assert await read_all(right) == b"last words"
    assert await read_all(left) == b""


async def test_an_error_of_one_side_closes_both_and_is_raised() -> None:
    (left, a), (b, right) = await connect(), await connect()
    broken = FaultStream(b, FaultPlan(reset=1.0), random.Random(1))
    with pytest.raises(trio.BrokenResourceError, match="reset"):
        await relay(a, broken)
    assert await left.receive_some() == b""
    assert await right.receive_some() == b""


async def test_idle_relays_are_ended(autojump_clock: trio.testing.MockClock) -> None:
    (left, a), (b, right) = await connect(), await connect()
    start = trio.current_time()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def chat() -> None:
            for _ in range(3):
                await trio.sleep(50)
                await left.send_all(b"still here")
                await right.receive_some()

        with pytest.raises(RelayIdleError, match="60 s"):
            await relay(a, b, idle_timeout=60)
    assert trio.current_time() - start == pytest.approx(3 * 50 + 60)
    assert await right.receive_some() == b""


async def test_a_cancelled_relay_closes_both() -> None:
    (left, a), (b, right) = await connect(), await connect()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, a, b)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert await left.receive_some() == b""
    assert await right.receive_some() == b""


class Channel(NoHalfClose):
    """A stream that can be reset with a reason."""

    told: tuple[ErrorCode, str] | None = None

    def reset(self, code: ErrorCode, text: str) -> None:
        self.told = code, text


class TalkativeError(trio.BrokenResourceError):
    code = ErrorCode.REFUSED
    text = "locked"


class Resets(NoHalfClose):
    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        raise TalkativeError


async def test_a_reset_is_passed_on_with_its_reason() -> None:
    """B2: a channel behind a relay must not end as if everything had been sent."""
    (_, a), (b, _) = await connect(), await connect()
    channel = Channel(a)
    with pytest.raises(TalkativeError):
        await relay(PushbackStream(channel), Resets(b))
    assert channel.told == (ErrorCode.REFUSED, "locked")


async def test_a_lost_connection_is_a_reset_of_the_other_side() -> None:
    (_, a), (b, _) = await connect(), await connect()
    channel = Channel(a)
    with pytest.raises(trio.BrokenResourceError):
        await relay(channel, FaultStream(b, FaultPlan(reset=1.0), random.Random(1)))
    assert channel.told == (ErrorCode.CONNECTION_LOST, "the other side of the relay is gone")


async def test_an_aborted_tcp_connection_is_reset() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, await trio.open_tcp_stream(*listener.socket.getsockname()) as stream:
        await abort_stream(PushbackStream(await listener.accept()), ErrorCode.CANCELLED, "")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()


async def read_to_the_end(stream: trio.abc.Stream) -> None:
    while await stream.receive_some():
        pass


async def test_what_was_not_sent_is_discarded() -> None:
    """D14: a peer that does not read leaves nothing with the kernel; a stream without a socket has nothing there."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, await trio.open_tcp_stream(*listener.socket.getsockname()) as client:
        server = await listener.accept()
        with trio.move_on_after(0.1):
            await server.send_all(bytes(64 * 1024 * 1024))
        wrapped = PushbackStream(server)
        discard_unsent(wrapped)
        await trio.aclose_forcefully(wrapped)
        with pytest.raises(trio.BrokenResourceError):
            await read_to_the_end(client)
    discard_unsent(trio.testing.memory_stream_pair()[0])
