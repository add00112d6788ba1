# SPDX-License-Identifier: Apache-2.0
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from mezite.core.mux.connection import MuxLimits
from mezite.core.mux.error_codes import ErrorCode
from mezite.net.mux_channel import ChannelResetError, MuxChannel
from mezite.testing.mux_sessions import SessionPair

SMALL = MuxLimits(
    max_frame=4096,
    channel_window=4096,
    channel_window_max=4096,
    channel_send_buffer=4096,
    send_buffer_floor=4096,
)
CAPACITY = 8192
"""Bytes that a small channel takes when its peer does not read: a window and an output buffer."""


@asynccontextmanager
async def sessions(limits: MuxLimits | None = None) -> AsyncIterator[SessionPair]:
    pair = SessionPair(limits)
    async with trio.open_nursery() as nursery:
        await pair.start(nursery)
        yield pair
        nursery.cancel_scope.cancel()


async def clog(channel: MuxChannel) -> None:
    """Fill the channel so that the next byte must wait."""
    await channel.send_all(bytes(CAPACITY))
    await trio.testing.wait_all_tasks_blocked()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.send_all, b"x")
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()


Maker = Callable[[], Awaitable[tuple[MuxChannel, MuxChannel]]]


async def test_the_contract_of_a_half_closeable_stream() -> None:
    async with sessions(SMALL) as pair:

        async def clogged() -> tuple[MuxChannel, MuxChannel]:
            ends = await pair.open()
            for end in ends:
                await clog(end)
            return ends

        await trio.testing.check_half_closeable_stream(pair.open, clogged)


async def test_both_ends_know_the_header() -> None:
    async with sessions() as pair:
        ours, theirs = await pair.open()
        assert ours.header == theirs.header
        assert ours.channel_id == theirs.channel_id == 1


async def test_large_chunks_stay_large() -> None:
    async with sessions() as pair:
        ours, theirs = await pair.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ours.send_all, bytes(2_000_000))
            sizes = []
            while sum(sizes) < 2_000_000:
                sizes.append(len(await theirs.receive_some()))
        assert max(sizes) >= 128 * 1024
        assert len(sizes) < 60
        assert theirs.statistics().received == ours.statistics().sent == 2_000_000
        assert theirs.statistics().unread == 0


async def test_a_send_cancelled_half_way_resets_the_channel_b2_p1() -> None:
    async with sessions(SMALL) as pair:
        ours, theirs = await pair.open()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ours.send_all, bytes(CAPACITY + 1))
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ChannelResetError) as caught:
            await theirs.receive_some()
        assert caught.value.code is ErrorCode.CANCELLED
        with pytest.raises(trio.ClosedResourceError):
            await ours.send_all(b"x")


async def test_a_send_cancelled_before_it_began_does_no_harm() -> None:
    async with sessions(SMALL) as pair:
        ours, theirs = await pair.open()
        await clog(ours)
        assert len(await theirs.receive_some()) == 4096
        await ours.send_all(b"y")


async def test_a_reset_says_why() -> None:
    async with sessions() as pair:
        ours, theirs = await pair.open()
        await ours.send_all(b"never read")
        await trio.testing.wait_all_tasks_blocked()
        ours.reset(ErrorCode.UNREACHABLE, "no route")
        await trio.testing.wait_all_tasks_blocked()
        for attempt in (theirs.receive_some, lambda: theirs.send_all(b"x"), theirs.send_eof):
            with pytest.raises(ChannelResetError, match="no route") as caught:
                await attempt()
            assert caught.value.code is ErrorCode.UNREACHABLE
        with pytest.raises(trio.ClosedResourceError):
            await ours.receive_some()


async def test_what_came_before_a_close_is_still_read() -> None:
    async with sessions() as pair:
        ours, theirs = await pair.open()
        await ours.send_all(b"bye")
        await ours.aclose()
        await trio.testing.wait_all_tasks_blocked()
        await theirs.send_eof()
        assert await theirs.receive_some() == b"bye"
        assert await theirs.receive_some() == b""
        with pytest.raises(trio.ClosedResourceError):
            await theirs.send_all(b"x")


async def test_sending_to_a_peer_that_closed_is_an_error() -> None:
    async with sessions() as pair:
        ours, theirs = await pair.open()
        await ours.aclose()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ChannelResetError, match="NO_ERROR"):
            await theirs.send_all(b"x")
        assert await theirs.receive_some() == b""


async def test_eof_after_close_is_an_error() -> None:
    async with sessions() as pair:
        ours, _ = await pair.open()
        await ours.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await ours.send_eof()


async def test_when_the_connection_is_lost_what_came_is_read_first() -> None:
    async with sessions() as pair:
        ours, theirs = await pair.open()
        await ours.send_all(b"all there is")
        await trio.testing.wait_all_tasks_blocked()
        await trio.aclose_forcefully(pair.streams[0])
        await trio.testing.wait_all_tasks_blocked()
        assert await theirs.receive_some() == b"all there is"
        with pytest.raises(trio.BrokenResourceError, match="connection lost"):
            await theirs.receive_some()
        with pytest.raises(trio.BrokenResourceError, match="connection lost"):
            await theirs.send_all(b"x")
        await theirs.aclose()


async def test_a_waiting_sender_learns_that_the_connection_is_lost() -> None:
    async with sessions(SMALL) as pair:
        ours, _ = await pair.open()
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await ours.send_all(bytes(CAPACITY + 1))

            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            await trio.aclose_forcefully(pair.streams[1])


async def test_a_closed_channel_that_nobody_reads_is_given_up_in_a_minute_b3(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with sessions(SMALL) as pair:
        ours, theirs = await pair.open()
        await ours.send_all(bytes(CAPACITY))
        await ours.aclose()
        await trio.sleep(59)
        assert pair.dialer.statistics().mux.channels_ours == 1
        await trio.sleep(10)
        assert pair.dialer.statistics().mux.channels_ours == 0
        with pytest.raises(ChannelResetError) as caught:
            await theirs.receive_some()
        assert caught.value.code is ErrorCode.DEADLINE


async def test_a_channel_reset_here_costs_nothing_more() -> None:
    async with sessions() as pair:
        for _ in range(20):
            ours, theirs = await pair.open()
            ours.reset(ErrorCode.CANCELLED, "")
            await trio.testing.wait_all_tasks_blocked()
            await theirs.aclose()
            await ours.aclose()
        assert pair.dialer.statistics().mux.channels_ours == 0
        assert not pair.dialer._switchboard.busy
