# SPDX-License-Identifier: Apache-2.0
"""The reconnect loop, on memory streams and a clock that jumps (threats B4, B5, B6, P3)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise

import attrs
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from mezite.agent.tunnel_client import UP_SECONDS, TunnelClient, TunnelRefusedError
from mezite.core.mux.connection import ChannelHeader, MuxConnection, Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.net.dialer import DialError
from mezite.net.mux_channel import MuxChannel
from mezite.net.mux_session import MuxSession, PendingChannel, TunnelClosedError
from mezite.testing.mux_pair import drain_output

ALMOST_ONE = 0.999
SSH = ChannelHeader(kind="ssh", target="web-1")


@attrs.define(eq=False)
class Hub:
    """Accepts what the agent dials; each dial can be given a failure instead."""

    nursery: trio.Nursery
    failures: Iterator[Exception | None]
    dials: list[float] = attrs.field(factory=list)
    sessions: list[MuxSession] = attrs.field(factory=list)
    streams: list[trio.abc.Stream] = attrs.field(factory=list)
    serve: bool = True
    arrived: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    async def connect(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        self.dials.append(trio.current_time())
        failure = next(self.failures, None)
        if failure is not None:
            raise failure
        ours, theirs = memory_stream_pair()
        self.streams.append(theirs)
        if self.serve:
            session = MuxSession(ours, Side.ACCEPTER)
            self.sessions.append(session)
            self.nursery.start_soon(run_quietly, session)
        else:
            self.sessions.append(MuxSession(ours, Side.ACCEPTER))
        self.arrived.unpark_all()
        return theirs

    async def session(self, number: int) -> MuxSession:
        """The nth session, proven in both directions."""
        while len(self.sessions) <= number:
            await self.arrived.park()
        await self.sessions[number].wait_round_trip()
        await wait_all_tasks_blocked()
        return self.sessions[number]

    async def cut(self, number: int) -> None:
        """What a reset does: both ends are gone at once."""
        await trio.aclose_forcefully(self.streams[number])


async def run_quietly(session: MuxSession) -> None:
    try:
        await session.run()
    except TunnelClosedError:
        return


async def echo(pending: PendingChannel) -> None:
    async with await pending.accept() as channel:
        async for data in channel:
            await channel.send_all(data)


async def nothing(_session: MuxSession) -> None:
    await trio.sleep_forever()


@asynccontextmanager
async def agent(
    *failures: Exception | None,
    serve_channel: Callable[[PendingChannel], Awaitable[None]] = echo,
    beside: Callable[[MuxSession], Awaitable[None]] = nothing,
    jitter: float = ALMOST_ONE,
    serve: bool = True,
) -> AsyncIterator[tuple[Hub, TunnelClient]]:
    async with trio.open_nursery() as nursery:
        hub = Hub(nursery, iter(failures), serve=serve)
        client = TunnelClient(
            connect=hub.connect, serve_channel=serve_channel, beside=beside, jitter=lambda: jitter
        )
        nursery.start_soon(client.run)
        yield hub, client
        nursery.cancel_scope.cancel()


async def talk(channel: MuxChannel, text: bytes) -> bytes:
    await channel.send_all(text)
    return bytes(await channel.receive_some())


def waits(hub: Hub) -> list[float]:
    return [later - earlier for earlier, later in zip(hub.dials, hub.dials[1:], strict=False)]


async def test_channels_are_served(autojump_clock: MockClock) -> None:
    async with agent() as (hub, client):
        session = await hub.session(0)
        async with await session.open_channel(SSH) as channel:
            assert await talk(channel, b"hello") == b"hello"
        assert client.connected_at is not None


UNREACHABLE = [
    DialError("cannot connect to hub:3024", "connection refused", "is it running?"),
    OSError(113, "No route to host"),
    TunnelRefusedError("hub:3080 is a hub but not its tunnel port"),
    TunnelClosedError("the peer went away before it said anything"),
    trio.BrokenResourceError("reset"),
    trio.TooSlowError(),
    ValueError("something nobody thought of"),
]


@pytest.mark.parametrize("failure", UNREACHABLE, ids=lambda error: type(error).__name__)
async def test_whatever_goes_wrong_it_dials_again(
    autojump_clock: MockClock, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Threat B5: the loop has no exit but being cancelled."""
    async with agent(failure) as (hub, _client):
        await hub.session(0)
        assert waits(hub) == pytest.approx([0.5], abs=0.01)
    (record,) = [record for record in caplog.records if record.message.startswith("cannot reach")]
    expected = "no answer in time" if isinstance(failure, trio.TooSlowError) else str(failure)
    assert expected in record.reason
    assert record.retry_in_seconds == 0.5


async def test_the_waits_double_up_to_a_minute(autojump_clock: MockClock) -> None:
    async with agent(*[OSError("no")] * 10) as (hub, _client):
        await hub.session(0)
        expected = [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
        assert waits(hub) == pytest.approx(expected, rel=0.01)


async def test_only_a_link_that_outlived_its_last_wait_starts_afresh(autojump_clock: MockClock) -> None:
    """Threat B6: a hub that accepts and drops at once is not dialled every half second."""
    async with agent(*[OSError("no")] * 3) as (hub, client):
        await hub.session(0)
        await hub.cut(0)
        await hub.session(1)
        assert waits(hub) == pytest.approx([0.5, 1, 2, 4], rel=0.01)
        await trio.sleep(5)
        await hub.cut(1)
        await trio.sleep(0.1)
        assert client.connected_at is None
        await hub.session(2)
        assert waits(hub)[-1] == pytest.approx(5.5, abs=0.1)


async def test_a_hub_that_says_nothing_is_given_up(autojump_clock: MockClock) -> None:
    async with agent(serve=False, jitter=0) as (hub, client):
        await trio.sleep(UP_SECONDS + 1)
        assert client.connected_at is None
        assert waits(hub) == pytest.approx([UP_SECONDS], abs=0.1)


async def test_a_dead_line_is_found_and_replaced(autojump_clock: MockClock) -> None:
    """Threat B4: half-open, nobody hears anything; 15 s without an answer are enough."""
    async with agent(jitter=0) as (hub, _client):
        session = await hub.session(0)
        begin = trio.current_time()
        stalled = hub.streams[0]
        stalled.receive_stream.receive_some_hook = trio.sleep_forever
        await hub.session(1)
        assert trio.current_time() - begin < 45
        assert session is not hub.sessions[1]


async def test_a_drain_dials_first_and_lets_go_later(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """No dial is refused meanwhile, and what is under way finishes."""
    async with agent(jitter=0) as (hub, _client), trio.open_nursery() as nursery:
        old = await hub.session(0)
        channel = await old.open_channel(SSH)
        with caplog.at_level(logging.INFO, "mezite.agent.tunnel"):
            nursery.start_soon(old.drain)
            new = await hub.session(1)
        assert any(
            record.levelno == logging.INFO and record.message == "the hub ends the tunnel"
            for record in caplog.records
        )
        async with await new.open_channel(SSH) as other:
            assert await talk(other, b"new") == b"new"
            assert await talk(channel, b"old") == b"old"
        await channel.send_eof()
        assert await channel.receive_some() == b""
        await old.wait_closed()


async def test_an_idle_tunnel_is_let_go_when_the_next_one_is_up(autojump_clock: MockClock) -> None:
    """The hub need not end it: it waits for the agent, so that dials still go through until then."""
    async with agent(jitter=0) as (hub, _client):
        old = await hub.session(0)
        old.send_goaway(text="the hub is shutting down")
        await hub.session(1)
        with trio.fail_after(1):
            await old.wait_closed()


async def test_a_goaway_may_name_a_wait(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    async with agent(jitter=0) as (hub, _client):
        session = await hub.session(0)
        begin = trio.current_time()
        session.send_goaway(retry_after=20, code=ErrorCode.REFUSED, text="agent a-1 is locked: why; what")
        await hub.session(1)
        assert hub.dials[-1] - begin == pytest.approx(20, abs=0.1)
    (record,) = [record for record in caplog.records if record.message == "the hub ends the tunnel"]
    assert record.levelno == logging.ERROR
    assert record.reason == "agent a-1 is locked: why; what"
    (again,) = [record for record in caplog.records if record.message.startswith("tunnel disconnected")]
    assert again.reason == "agent a-1 is locked: why; what"


async def test_a_goaway_without_a_text(autojump_clock: MockClock) -> None:
    async with agent(jitter=0) as (hub, _client):
        (await hub.session(0)).send_goaway()
        await hub.session(1)


@pytest.mark.parametrize(
    ("error", "logged"), [(ValueError("broken"), True), (trio.BrokenResourceError("gone"), False)]
)
async def test_a_failing_channel_does_not_end_the_tunnel(
    autojump_clock: MockClock, error: Exception, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Threat P3, also when the failure arrives as a group (threat P4)."""

    async def fail(pending: PendingChannel) -> None:
        if pending.header.target == "bad":
            async with trio.open_nursery():
                raise error
        await echo(pending)

    async with agent(serve_channel=fail) as (hub, _client), trio.open_nursery() as nursery:
        session = await hub.session(0)
        nursery.start_soon(open_and_forget, session, ChannelHeader(kind="ssh", target="bad"))
        await trio.sleep(1)
        async with await session.open_channel(SSH) as channel:
            assert await talk(channel, b"still") == b"still"
        nursery.cancel_scope.cancel()
    assert ("a channel failed" in caplog.text) is logged
    assert len(hub.dials) == 1


async def open_and_forget(session: MuxSession, header: ChannelHeader) -> None:
    await session.open_channel(header, deadline_seconds=1000)


async def test_what_runs_beside_ends_with_its_tunnel(autojump_clock: MockClock) -> None:
    beside: list[str] = []

    async def watch(_session: MuxSession) -> None:
        beside.append("begin")
        try:
            await trio.sleep_forever()
        finally:
            beside.append("end")

    async with agent(beside=watch, jitter=0) as (hub, _client):
        await hub.session(0)
        await hub.cut(0)
        await hub.session(1)
        assert beside == ["begin", "end", "begin"]
    assert beside == ["begin", "end", "begin", "end"]


async def test_cancelling_leaves_nothing(autojump_clock: MockClock) -> None:
    """Threat P6: streams are closed, no task is left (the nursery would say so)."""
    async with agent() as (hub, _client):
        session = await hub.session(0)
        await session.open_channel(SSH)
    for stream in hub.streams:
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"x")


async def test_after_faults_stop_it_is_back_within_a_minute(autojump_clock: MockClock) -> None:
    """Threat B5, liveness: any mix of refused dials, cuts and silence ends with a tunnel."""
    faults = [OSError("no"), None, trio.TooSlowError(), OSError("no"), None, OSError("no"), OSError("no")]
    async with agent(*faults, jitter=0.5) as (hub, client):
        for number in range(2):
            await hub.session(number)
            await hub.cut(number)
        healed = trio.current_time()
        await hub.session(2)
        assert trio.current_time() - healed < 60
        assert client.connected_at is not None


async def test_a_session_that_breaks_in_an_unforeseen_way_is_replaced(autojump_clock: MockClock) -> None:
    """Not even a fault of ours ends the loop."""
    async with agent(jitter=0) as (hub, _client):
        await hub.session(0)

        async def fail() -> None:
            raise RuntimeError("a fault of ours")

        hub.streams[0].receive_stream.receive_some_hook = fail
        await hub.session(1)


async def test_a_goaway_together_with_the_end_is_heard(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A hub that refuses says so and closes, often before a round trip is proven."""
    dials: list[float] = []

    async def connect() -> trio.abc.Stream:
        dials.append(trio.current_time())
        ours, theirs = memory_stream_pair()
        core = MuxConnection(Side.ACCEPTER)
        core.send_goaway(20_000, ErrorCode.REFUSED, "agent a-1 was removed: why; what")
        await ours.send_all(drain_output(core))
        await ours.send_eof()
        return theirs

    client = TunnelClient(connect=connect, serve_channel=echo, beside=nothing, jitter=lambda: 0.0)
    with trio.move_on_after(50):
        await client.run()
    assert [round(later - earlier) for earlier, later in pairwise(dials)] == [20, 20]
    reasons = [record.reason for record in caplog.records if record.message == "the hub ends the tunnel"]
    assert reasons == ["agent a-1 was removed: why; what"] * 3
