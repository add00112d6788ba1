# SPDX-License-Identifier: Apache-2.0
"""What an agent does with channels to applications: dial, relay, say why not (threats B2, P8)."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mezite.agent.app_channels import DIAL_SECONDS, MAX_DIALS, AppChannels
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.header import ChannelHeader
from mezite.net.byte_streams import abort_stream
from mezite.net.mux_channel import ChannelResetError
from mezite.net.mux_session import ChannelRejectedError, MuxSession, TunnelClosedError
from mezite.testing.mux_sessions import SessionPair
from tests.loopback import listening


def to(target: str, *, deadline_ms: int = 0) -> ChannelHeader:
    return ChannelHeader(kind="app", target=target, deadline_ms=deadline_ms, attributes={"app": "redis"})


@asynccontextmanager
async def agent(channels: AppChannels | None = None) -> AsyncIterator[MuxSession]:
    """The hub's side of a tunnel whose other side serves application channels."""
    channels = channels or AppChannels()

    async def serve() -> None:
        async with trio.open_nursery() as serving:
            while True:
                try:
                    pending = await pair.dialer.accept_channel()
                except TunnelClosedError:
                    return
                serving.start_soon(serve_one, pending)

    async def serve_one(pending: object) -> None:
        try:
            await channels.serve(pending)
        except* trio.BrokenResourceError:
            pass

    async with trio.open_nursery() as nursery:
        pair = SessionPair()
        await pair.start(nursery)
        nursery.start_soon(serve)
        yield pair.accepter
        nursery.cancel_scope.cancel()


async def count_then_answer(stream: trio.SocketStream) -> None:
    """Reads everything, and only then says how much it was."""
    count = 0
    async for data in stream:
        count += len(data)
    await stream.send_all(f"{count} bytes".encode())


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([bytes(data) async for data in stream])


async def refusal(session: MuxSession, header: ChannelHeader) -> ChannelRejectedError:
    with pytest.raises(ChannelRejectedError) as caught:
        await session.open_channel(header)
    return caught.value


async def test_bytes_go_both_ways_and_each_direction_ends_by_itself() -> None:
    async with agent() as hub, listening(count_then_answer) as address:
        channel = await hub.open_channel(to(address))
        await channel.send_all(b"x" * 300_000)
        await channel.send_eof()
        assert await read_all(channel) == b"300000 bytes"


async def test_a_name_is_looked_up_and_each_of_its_addresses_tried() -> None:
    """`localhost` may be ::1 first, where nothing listens."""
    async with agent() as hub, listening(count_then_answer) as address:
        channel = await hub.open_channel(to(address.replace("127.0.0.1", "localhost")))
        await channel.send_eof()
        assert await channel.receive_some() == b"0 bytes"


async def test_nobody_listens_there() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        async with agent() as hub:
            refused = await refusal(hub, to(address))
    assert refused.code is ErrorCode.UNREACHABLE
    assert refused.text == f"cannot connect to {address}: connection refused"


async def test_a_name_that_cannot_be() -> None:
    async with agent() as hub:
        refused = await refusal(hub, to(f"{'a' * 64}.example:80"))
    assert refused.code is ErrorCode.UNREACHABLE
    assert refused.text.startswith(f"cannot look up {'a' * 64}.example: ")


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("", "cannot dial: '' is not host[:port]"),
        ("redis", "cannot dial redis: it names no port"),
        ("redis:0", "cannot dial: the port of 'redis:0' is not a number from 1 to 65535"),
        ("redis:http", "cannot dial: the port of 'redis:http' is not a number from 1 to 65535"),
        ("http://redis:6379", "cannot dial: 'http://redis:6379' is a URL, not host[:port]"),
    ],
)
async def test_what_is_no_address_is_not_dialled(target: str, why: str) -> None:
    async with agent() as hub:
        refused = await refusal(hub, to(target))
    assert (refused.code, refused.text) == (ErrorCode.REFUSED, why)


@attrs.define(eq=False)
class SlowNetwork:
    """Dials that get no answer, and how long each was prepared to wait."""

    waits: list[float] = attrs.field(factory=list)

    async def dial(self, _address: str, _default_port: int, *, deadline_seconds: float) -> trio.SocketStream:
        self.waits.append(deadline_seconds)
        await trio.sleep_forever()
        raise AssertionError("unreachable")


@pytest.mark.parametrize(
    ("asked_ms", "seconds"), [(0, DIAL_SECONDS), (3000, 3.0), (3_600_000, DIAL_SECONDS)], ids=str
)
async def test_a_dial_has_the_hubs_deadline_and_never_a_long_one(
    autojump_clock: MockClock, asked_ms: int, seconds: float
) -> None:
    network = SlowNetwork()
    async with agent(AppChannels(dial=network.dial)) as hub:
        with pytest.raises(ChannelRejectedError):
            await hub.open_channel(to("10.0.0.1:1", deadline_ms=asked_ms), deadline_seconds=1)
    assert network.waits == [seconds]


async def test_no_more_dials_in_flight_than_the_bound(autojump_clock: MockClock) -> None:
    """Threat P8: what waits for a turn is told so within its deadline."""
    network = SlowNetwork()
    async with agent(AppChannels(dial=network.dial)) as hub, trio.open_nursery() as nursery:

        async def wait_for_ever() -> None:
            await hub.open_channel(to("10.0.0.1:1"), deadline_seconds=3600)

        for _ in range(MAX_DIALS):
            nursery.start_soon(wait_for_ever)
        await wait_all_tasks_blocked()
        refused = await refusal(hub, to("10.0.0.2:2", deadline_ms=1000))
        assert len(network.waits) == MAX_DIALS
        nursery.cancel_scope.cancel()
    assert refused.code is ErrorCode.UNREACHABLE
    assert refused.text == (
        f"cannot connect to 10.0.0.2:2: this agent is busy with {MAX_DIALS} other connections that get no answer"
    )


async def test_a_hub_that_gives_up_leaves_no_connection_behind() -> None:
    ended, reached = trio.Event(), trio.Event()

    async def wait_for_the_end(stream: trio.SocketStream) -> None:
        reached.set()
        try:
            await stream.receive_some()
        finally:
            ended.set()

    async def dial_and_dawdle(
        address: str, _default_port: int, *, deadline_seconds: float
    ) -> trio.SocketStream:
        host, _, port = address.rpartition(":")
        stream = await trio.open_tcp_stream(host, int(port))
        await gone.wait()
        return stream

    gone = trio.Event()
    async with agent(AppChannels(dial=dial_and_dawdle)) as hub, listening(wait_for_the_end) as address:
        with trio.CancelScope() as giving_up:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hub.open_channel, to(address))
                await reached.wait()
                giving_up.cancel()
        await wait_all_tasks_blocked()
        gone.set()
        with trio.fail_after(10):
            await ended.wait()


async def test_a_reset_by_the_application_is_one_for_the_user() -> None:
    """Threat B2: a part must not pass for the whole."""

    async def break_off(stream: trio.SocketStream) -> None:
        await stream.send_all(b"half of")
        await abort_stream(stream, ErrorCode.CANCELLED, "")

    async with agent() as hub, listening(break_off) as address:
        channel = await hub.open_channel(to(address))
        with pytest.raises(ChannelResetError) as reset:
            await read_all(channel)
    assert reset.value.code is ErrorCode.CONNECTION_LOST


async def test_a_reset_by_the_user_is_one_for_the_application() -> None:
    outcome: list[str] = []
    over = trio.Event()

    async def listen(stream: trio.SocketStream) -> None:
        try:
            while await stream.receive_some():
                pass
            outcome.append("an ordinary end")
        except trio.BrokenResourceError:
            outcome.append("a reset")
        over.set()

    async with agent() as hub, listening(listen) as address:
        channel = await hub.open_channel(to(address))
        await channel.send_all(b"half of")
        channel.reset(ErrorCode.CANCELLED, "the user went away")
        with trio.fail_after(10):
            await over.wait()
    assert outcome == ["a reset"]
