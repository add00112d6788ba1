# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from mezite.core.mux.connection import ChannelHeader, Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.handlers.session_life import GOODBYE_SECONDS, dismiss, guarded, running, say_goodbye
from mezite.net.mux_session import ChannelRejectedError, MuxSession, PendingChannel, TunnelClosedError
from tests.handlers.peers import session_on

HEADER = ChannelHeader(kind="ssh")


async def test_that_the_peer_goes_is_an_ordinary_end() -> None:
    ours, theirs = memory_stream_pair()
    near = MuxSession(ours, Side.ACCEPTER)
    async with session_on(theirs), running(near) as nursery:
        nursery.start_soon(trio.sleep_forever)
        await near.wait_round_trip()
        await trio.aclose_forcefully(theirs)
        await near.accept_channel()
        raise AssertionError("the block is left when the session ends")
    await near.wait_closed()


async def test_leaving_the_block_closes_the_session() -> None:
    ours, theirs = memory_stream_pair()
    near = MuxSession(ours, Side.ACCEPTER)
    async with session_on(theirs) as far:
        async with running(near):
            await near.wait_round_trip()
        await far.wait_closed()


async def test_what_the_block_raises_comes_out() -> None:
    ours, theirs = memory_stream_pair()
    async with session_on(theirs):
        with pytest.RaisesGroup(KeyError):
            async with running(MuxSession(ours, Side.ACCEPTER)):
                raise KeyError("mine")


async def test_a_goodbye_says_why() -> None:
    ours, theirs = memory_stream_pair()
    async with session_on(theirs) as far:
        await say_goodbye(MuxSession(ours, Side.ACCEPTER), ErrorCode.REFUSED, "what: why; do this")
        await far.wait_closed()
        goaway = far.goaway_received
        assert goaway is not None
        assert (goaway.code, goaway.text) == (ErrorCode.REFUSED, "what: why; do this")


async def test_a_goodbye_to_someone_who_does_not_listen_is_short(autojump_clock: MockClock) -> None:
    begin = trio.current_time()
    await say_goodbye(MuxSession(memory_stream_pair()[0], Side.ACCEPTER), ErrorCode.REFUSED, "no")
    assert trio.current_time() - begin == GOODBYE_SECONDS


async def test_dismissing_does_not_wait_for_channels(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    near = MuxSession(ours, Side.ACCEPTER)
    async with session_on(theirs) as far, running(near) as nursery:
        nursery.start_soon(far.open_channel, HEADER)
        channel = await (await near.accept_channel()).accept()
        begin = trio.current_time()
        await dismiss(near, ErrorCode.REPLACED, "a newer one is there")
        assert trio.current_time() - begin == GOODBYE_SECONDS
        await trio.aclose_forcefully(channel)


async def failing(error: Exception, *, accept: bool = False) -> ChannelRejectedError | None:
    """What the opener of a channel sees whose server fails; the session must be there afterwards."""
    ours, theirs = memory_stream_pair()
    near = MuxSession(ours, Side.ACCEPTER)

    async def fail(pending: PendingChannel) -> None:
        if accept:
            await pending.accept()
        raise error

    async def serve() -> None:
        while True:
            await guarded(fail, await near.accept_channel())

    seen: ChannelRejectedError | None = None
    async with session_on(theirs) as far, running(near) as nursery:
        nursery.start_soon(serve)
        for _ in range(2):
            try:
                await far.open_channel(HEADER, deadline_seconds=0.5)
            except ChannelRejectedError as rejected:
                seen = rejected
    return seen


async def test_a_failure_rejects_the_channel_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """Threat P3."""
    rejected = await failing(ValueError("the database is away"))
    assert rejected is not None
    assert rejected.code is ErrorCode.INTERNAL_ERROR
    assert rejected.text == "internal error: the hub's log has the details"
    assert "the database is away" in caplog.text


async def test_a_failure_after_the_channel_was_accepted(caplog: pytest.LogCaptureFixture) -> None:
    assert await failing(ValueError("too late"), accept=True) is None
    assert "too late" in caplog.text


@pytest.mark.parametrize("error", [TunnelClosedError("gone"), trio.BrokenResourceError("reset")])
async def test_peers_that_go_are_no_news(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert await failing(error, accept=True) is None
    assert not [record for record in caplog.records if record.name == "mezite.tunnel"]


async def test_a_peer_that_goes_before_it_said_anything() -> None:
    """No news to anybody: scanners do it all day."""
    ours, theirs = memory_stream_pair()
    await trio.aclose_forcefully(theirs)
    with pytest.raises(trio.BrokenResourceError):
        await say_goodbye(MuxSession(ours, Side.ACCEPTER), ErrorCode.REFUSED, "no")
