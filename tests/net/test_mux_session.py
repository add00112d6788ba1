# SPDX-License-Identifier: Apache-2.0
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

from mezite.core.errors import LocalProtocolError
from mezite.core.mux.connection import ChannelHeader, MuxLimits, Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.frames import FrameType, encode_frame, encode_goaway, encode_number
from mezite.core.mux.settings import encode_settings
from mezite.net.mux_channel import MuxChannel
from mezite.net.mux_session import ChannelRejectedError, MuxSession, TunnelClosedError
from mezite.testing.cancellation_sweep import cancel_points
from mezite.testing.fault_stream import FaultPlan, FaultStream
from mezite.testing.mux_sessions import SessionPair

HEADER = ChannelHeader(kind="test")
WINDOW = encode_number(FrameType.WINDOW, 0, 1, 4)
SWEPT = MuxLimits(channel_window=8192, channel_send_buffer=16384)
FEW = MuxLimits(max_channels=2)


@asynccontextmanager
async def sessions(pair: SessionPair | None = None) -> AsyncIterator[SessionPair]:
    pair = pair or SessionPair()
    async with trio.open_nursery() as nursery:
        await pair.start(nursery)
        yield pair
        nursery.cancel_scope.cancel()


async def read_all(channel: MuxChannel) -> bytes:
    return b"".join([chunk async for chunk in channel])


async def send_and_end(channel: MuxChannel, data: bytes) -> None:
    await channel.send_all(data)
    await channel.send_eof()


# Opening


async def test_both_sides_open_channels() -> None:
    async with sessions() as pair:
        ours, theirs = await pair.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_and_end, ours, b"ping")
            assert await read_all(theirs) == b"ping"
            nursery.start_soon(send_and_end, theirs, b"pong")
            assert await read_all(ours) == b"pong"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pair.accepter.open_channel, HEADER)
            offer = await pair.dialer.accept_channel()
            assert offer.header == HEADER
            await offer.accept()


async def test_a_refusal_says_why() -> None:
    async with sessions() as pair, trio.open_nursery() as nursery:

        async def refuse() -> None:
            (await pair.accepter.accept_channel()).reject(ErrorCode.NOT_FOUND, "no such node")

        nursery.start_soon(refuse)
        with pytest.raises(ChannelRejectedError, match="no such node") as caught:
            await pair.dialer.open_channel(HEADER)
        assert caught.value.code is ErrorCode.NOT_FOUND


async def test_nobody_answers(autojump_clock: trio.testing.MockClock) -> None:
    async with sessions() as pair:
        with pytest.raises(ChannelRejectedError, match="no answer within 15 s") as caught:
            await pair.dialer.open_channel(HEADER)
        assert caught.value.code is ErrorCode.DEADLINE
        await trio.testing.wait_all_tasks_blocked()
        assert not pair.accepter._switchboard.busy


async def test_an_opener_that_gives_up_withdraws_b2() -> None:
    async with sessions() as pair:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pair.dialer.open_channel, HEADER)
                offer = await pair.accepter.accept_channel()
                scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BrokenResourceError):
            await offer.accept()
        offer.reject(ErrorCode.REFUSED, "too late, does nothing")
        assert pair.dialer.statistics().mux.channels_ours == 0
        assert not pair.accepter._switchboard.busy


async def test_an_offer_withdrawn_before_it_was_seen_is_never_seen_b2() -> None:
    async with sessions() as pair:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pair.dialer.open_channel, HEADER)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0) as nothing:
            await pair.accepter.accept_channel()
        assert nothing.cancelled_caught


async def test_too_many_channels_b2() -> None:
    async with sessions(SessionPair(FEW)) as pair:
        await pair.open()
        await pair.open()
        with pytest.raises(ChannelRejectedError) as caught:
            await pair.dialer.open_channel(HEADER)
        assert caught.value.code is ErrorCode.TOO_MANY_CHANNELS


async def test_a_header_that_cannot_be_sent() -> None:
    async with sessions() as pair:
        with pytest.raises(LocalProtocolError):
            await pair.dialer.open_channel(ChannelHeader(kind=""))


async def test_a_cancelled_opener_does_not_begin() -> None:
    async with sessions() as pair:
        with trio.CancelScope() as scope:
            scope.cancel()
            await pair.dialer.open_channel(HEADER)
        assert pair.dialer.statistics().mux.channels_ours == 0


# Data


async def test_one_frozen_channel_of_many_stops_nobody_b3() -> None:
    async with sessions() as pair:
        frozen, _ = await pair.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(frozen.send_all, bytes(10_000_000))
            await trio.testing.wait_all_tasks_blocked()
            async with trio.open_nursery() as others:
                for number in range(99):
                    ours, theirs = await pair.open()
                    data = bytes([number]) * 200_000
                    others.start_soon(send_and_end, ours, data)
                    others.start_soon(expect, theirs, data)
            assert pair.accepter.statistics().mux.unconsumed <= 64 * 1024
            nursery.cancel_scope.cancel()


async def expect(channel: MuxChannel, data: bytes) -> None:
    assert await read_all(channel) == data


@pytest.mark.parametrize("seed", range(5))
async def test_bytes_survive_any_cutting_of_the_stream_b7(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    rng = random.Random(seed)
    left, right = trio.testing.memory_stream_pair()
    plan = FaultPlan(split=0.8, delay=0.3, max_piece=5000)
    pair = SessionPair(streams=(FaultStream(left, plan, rng), FaultStream(right, plan, rng)))
    async with sessions(pair), trio.open_nursery() as nursery:
        for _ in range(3):
            for end, other in (await pair.open(), (await pair.open())[::-1]):
                data = rng.randbytes(rng.randrange(300_000))
                nursery.start_soon(send_and_end, end, data)
                nursery.start_soon(expect, other, data)


# The end


async def test_drain_waits_for_channels_and_ends_in_peace() -> None:
    async with sessions() as pair:
        ours, theirs = await pair.open()
        async with trio.open_nursery() as nursery:

            async def drain() -> None:
                await pair.accepter.drain(retry_after=30, text="restart")

            nursery.start_soon(drain)
            await pair.dialer.wait_goaway()
            goaway = pair.dialer.goaway_received
            assert goaway is not None
            assert (goaway.retry_after_ms, goaway.code, goaway.text) == (
                30_000,
                ErrorCode.DRAINING,
                "restart",
            )
            with pytest.raises(ChannelRejectedError, match="restart") as caught:
                await pair.dialer.open_channel(HEADER)
            assert caught.value.code is ErrorCode.DRAINING
            async with trio.open_nursery() as backwards:
                backwards.start_soon(pair.accepter.open_channel, HEADER)
                late = await (await pair.dialer.accept_channel()).accept()
            await send_and_end(ours, b"goes on")
            assert await read_all(theirs) == b"goes on"
            await theirs.aclose()
            await trio.testing.wait_all_tasks_blocked()
            assert pair.errors == {}
            await late.aclose()
        await pair.dialer.wait_closed()
        await trio.testing.wait_all_tasks_blocked()
        assert pair.errors == {Side.DIALER: None, Side.ACCEPTER: None}
        await pair.accepter.drain()
        pair.accepter.send_goaway()


async def test_goaway_alone_changes_nothing_else() -> None:
    async with sessions() as pair:
        pair.accepter.send_goaway(retry_after=5)
        await pair.dialer.wait_goaway()
        await trio.testing.wait_all_tasks_blocked()
        assert pair.errors == {}


async def test_an_offer_that_crosses_a_goaway_hears_its_reason() -> None:
    async with sessions() as pair:
        pair.accepter.send_goaway(text="log in again")
        with pytest.raises(ChannelRejectedError, match="log in again") as caught:
            await pair.dialer.open_channel(HEADER)
        assert caught.value.code is ErrorCode.DRAINING


async def test_a_cancelled_run_is_a_loss_for_the_other_side() -> None:
    async with sessions() as pair, trio.open_nursery() as nursery:
        ours, theirs = await pair.open()

        async def open_another() -> None:
            with pytest.raises(TunnelClosedError):
                await pair.dialer.open_channel(HEADER)

        async def accept_another() -> None:
            await pair.accepter.accept_channel()
            with pytest.raises(TunnelClosedError):
                await pair.accepter.accept_channel()

        nursery.start_soon(open_another)
        nursery.start_soon(accept_another)
        await trio.testing.wait_all_tasks_blocked()
        await trio.aclose_forcefully(pair.streams[0])
        await pair.accepter.wait_closed()
        await pair.accepter.wait_goaway()
        for end in (ours, theirs):
            with pytest.raises(trio.BrokenResourceError):
                await end.receive_some()
        with pytest.raises(TunnelClosedError, match="connection lost"):
            await pair.accepter.open_channel(HEADER)
        await trio.testing.wait_all_tasks_blocked()
        for error in pair.errors.values():
            assert error is not None
            assert error.code is ErrorCode.CONNECTION_LOST


@pytest.mark.parametrize("mute", ["dialer", "accepter"])
async def test_half_open_is_found_in_15_seconds_both_ways_b4(
    mute: str, autojump_clock: trio.testing.MockClock
) -> None:
    """One direction goes silent without an error: the side that hears nothing ends, and so tells the other."""
    ends = [FaultStream(end, FaultPlan(), random.Random(0)) for end in trio.testing.memory_stream_pair()]
    pair = SessionPair(streams=(ends[0], ends[1]))
    async with sessions(pair):
        await trio.sleep(100)
        assert pair.errors == {}
        assert pair.dialer.round_trip == 0
        started = trio.current_time()
        ends[mute == "accepter"].go_half_open()
        deaf = pair.accepter if mute == "dialer" else pair.dialer
        await deaf.wait_closed()
        assert 10 <= trio.current_time() - started <= 15
        await trio.testing.wait_all_tasks_blocked()
        side = Side.ACCEPTER if mute == "dialer" else Side.DIALER
        assert "silent for 15 s" in str(pair.errors[side])


async def test_an_idle_connection_lives_for_hours(autojump_clock: trio.testing.MockClock) -> None:
    async with sessions() as pair:
        await trio.sleep(3600)
        assert pair.errors == {}
        statistics = pair.dialer.statistics()
        assert statistics.last_round_trip_at is not None
        assert trio.current_time() - statistics.last_round_trip_at <= 5
        assert statistics.bytes_sent == statistics.bytes_received <= 3600 / 5 * 32 + 100


async def test_a_round_trip_proves_the_peer_b4(autojump_clock: trio.testing.MockClock) -> None:
    async with sessions() as pair:
        assert await pair.dialer.wait_round_trip() == 0


async def test_no_round_trip_from_a_peer_that_does_not_answer_b4(
    autojump_clock: trio.testing.MockClock,
) -> None:
    peer = RawPeer()
    async with trio.open_nursery() as nursery:
        await peer.stream.send_all(encode_settings(MuxLimits()))
        nursery.start_soon(peer.run)
        with pytest.raises(TunnelClosedError):
            await peer.session.wait_round_trip()
    assert peer.error is not None


async def test_a_peer_that_answers_no_pings_gets_few(autojump_clock: trio.testing.MockClock) -> None:
    peer = RawPeer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        await peer.stream.send_all(encode_settings(MuxLimits()))
        for _ in range(20):
            await peer.stream.send_all(WINDOW)
            await trio.sleep(10)
        nursery.cancel_scope.cancel()
    heard = bytes(await peer.stream.receive_some())
    assert heard.count(bytes([FrameType.PING, 0, 0, 8])) == 6


async def test_a_peer_that_only_stops_reading_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    peer = RawPeer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        await peer.stream.send_all(encode_settings(MuxLimits()))
        peer.stream.receive_stream.close()
    assert peer.error is not None
    assert peer.error.code is ErrorCode.CONNECTION_LOST


# A peer that is not one of ours


class RawPeer:
    """A session of ours and the bare other end of its stream."""

    def __init__(self) -> None:
        self.stream, inner = trio.testing.memory_stream_pair()
        self.session = MuxSession(inner, Side.ACCEPTER)
        self.error: TunnelClosedError | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            await self.session.run(task_status=task_status)
        except TunnelClosedError as error:
            self.error = error


async def test_a_peer_that_breaks_the_rules_hears_the_code() -> None:
    peer = RawPeer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        await peer.stream.send_all(encode_settings(MuxLimits()) + encode_frame(FrameType.DATA, 7, b"x"))
        heard = bytearray()
        async for chunk in peer.stream:
            heard += chunk
    text = "RECEIVE_DATA on channel 7 in state IDLE"
    assert heard.endswith(encode_goaway(0, 0, ErrorCode.UNKNOWN_CHANNEL, text))
    assert peer.error is not None
    assert (peer.error.code, peer.error.reason) == (ErrorCode.UNKNOWN_CHANNEL, text)


async def test_the_last_word_waits_two_seconds_for_a_peer_that_does_not_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    stream, inner = trio.testing.lockstep_stream_pair()
    session = MuxSession(inner, Side.ACCEPTER)
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(TunnelClosedError):
            await session.run()
    assert trio.current_time() - started == 2


@pytest.mark.parametrize("said", [b"", encode_goaway(0, 0, ErrorCode.NO_ERROR, "")])
async def test_a_peer_that_leaves_before_it_said_anything(said: bytes) -> None:
    peer = RawPeer()
    async with trio.open_nursery() as nursery:
        await peer.stream.send_all(said)
        await peer.stream.aclose()
        with pytest.raises(TunnelClosedError):
            await nursery.start(peer.session.run)


async def test_a_reason_that_came_before_the_loss_is_the_reason() -> None:
    peer = RawPeer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        farewell = encode_goaway(0, 0, ErrorCode.REPLACED, "newer connection")
        await peer.stream.send_all(encode_settings(MuxLimits()) + farewell)
        await peer.stream.aclose()
    assert peer.error is not None
    assert peer.error.code is ErrorCode.REPLACED


class _Faulty(trio.abc.Stream):
    """Fails as no stream should, at the moment in which its user is cancelled; closing it is a checkpoint."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        self._scope.cancel()
        raise LookupError("a bug")

    async def send_all(self, data: object) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def test_a_bug_is_not_lost_to_a_cancel_p4() -> None:
    with pytest.raises(ExceptionGroup) as caught, trio.CancelScope() as scope:
        await MuxSession(_Faulty(scope), Side.DIALER).run()
    assert scope.cancel_called
    assert caught.group_contains(LookupError)


async def test_between_the_end_and_its_announcement_nothing_opens() -> None:
    pair = SessionPair()
    async with sessions(pair):
        pair.dialer._core.receive_data(bytes(8))
        pair.dialer._switchboard.route_events()
        with pytest.raises(TunnelClosedError):
            await pair.dialer.open_channel(HEADER)


async def test_limits_are_those_of_the_constructor() -> None:
    limits = attrs.evolve(MuxLimits(), accept_backlog=0)
    async with sessions(SessionPair(limits)) as pair:
        with pytest.raises(ChannelRejectedError) as caught:
            await pair.dialer.open_channel(HEADER)
        assert caught.value.code is ErrorCode.BACKLOG_FULL


async def conversation(pair: SessionPair) -> None:
    """Something of everything."""
    async with sessions(pair), trio.open_nursery() as nursery:
        ours, theirs = await pair.open()
        nursery.start_soon(send_and_end, ours, bytes(30_000))
        nursery.start_soon(send_and_end, theirs, bytes(30_000))
        assert await read_all(theirs) == await read_all(ours) == bytes(30_000)
        second, _ = await pair.open()
        await second.aclose()
        third, _ = await pair.open()
        await third.send_all(b"unread")
        third.reset(ErrorCode.CANCELLED, "")
        await pair.dialer.drain()


async def test_cancelled_anywhere_it_leaves_nothing_behind_p1_p6(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The whole conversation is cancelled at its 1st, 2nd, 3rd … await; streams are closed, channels are gone."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    tasks = trio.lowlevel.current_statistics().tasks_living
    for point in cancel_points():
        pair = SessionPair(limits=SWEPT)

        async def run(pair: SessionPair = pair) -> None:
            try:
                await conversation(pair)
            except* trio.BrokenResourceError:
                pass  # a task saw the end before it saw that it is cancelled

        await point.run(run)
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        for session in (pair.dialer, pair.accepter):
            assert not session._switchboard.busy
            numbers = session.statistics().mux
            assert (numbers.channels_ours, numbers.channels_theirs, numbers.unsent) == (0, 0, 0)
        for stream in pair.streams:
            with pytest.raises((trio.ClosedResourceError, trio.BrokenResourceError)):
                await stream.send_all(b"x")


@pytest.mark.parametrize("side", [0, 1])
async def test_a_run_cancelled_anywhere_never_leaves_the_other_side_hanging_p1(
    side: int, autojump_clock: trio.testing.MockClock
) -> None:
    """One side's writes are cut at every await of its run: the other side ends, and its channels with it."""
    for point in cancel_points():
        pair = SessionPair(limits=SWEPT)
        runs = [pair.run_dialer, pair.run_accepter]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runs[1 - side])
            nursery.start_soon(talk, pair)
            await point.run(runs[side])
        assert pair.errors.keys() >= {(Side.ACCEPTER, Side.DIALER)[side]}


async def talk(pair: SessionPair) -> None:
    """A transfer that ends well or with an error, and then a drain."""
    try:
        ours, theirs = await pair.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_and_end, ours, bytes(20_000))
            nursery.start_soon(expect, theirs, bytes(20_000))
        await theirs.aclose()
    except* (TunnelClosedError, trio.BrokenResourceError):
        pass
    await pair.dialer.drain()
