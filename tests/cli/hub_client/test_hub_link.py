# SPDX-License-Identifier: Apache-2.0
"""A connection to the hub that is made again whenever it ends; hubs in memory, time that jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from mezite.cli.hub_client.hub_link import OPEN_SECONDS, OPENINGS, UP_SECONDS, WAIT_SECONDS, HubLink
from mezite.cli.terminal.errors import CliError
from mezite.core.mux.connection import ChannelHeader, Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.net.mux_session import ChannelRejectedError, MuxSession, PendingChannel, TunnelClosedError

HEADER = ChannelHeader(kind="app", target="redis")


async def accept(pending: PendingChannel) -> None:
    channel = await pending.accept()
    try:
        async for data in channel:
            await channel.send_all(data)
    except trio.BrokenResourceError:
        return


@attrs.define(eq=False)
class Hubs:
    """Where a hub answers, and what those that answered are."""

    nursery: trio.Nursery
    down: Exception | None = None
    refusing: str = ""
    silent: bool = False
    hangs_up: bool = False
    answer: Callable[[PendingChannel], object] = accept
    sessions: list[MuxSession] = attrs.field(factory=list)
    scopes: list[trio.CancelScope] = attrs.field(factory=list)
    attempts: int = 0
    said: list[str] = attrs.field(factory=list)

    async def connect(self) -> trio.abc.Stream:
        self.attempts += 1
        await trio.lowlevel.checkpoint()
        if self.down is not None:
            raise self.down
        ours, theirs = memory_stream_pair()
        if self.hangs_up:
            await theirs.aclose()
        elif not self.silent:
            self.nursery.start_soon(self._serve, theirs)
        return ours

    async def _serve(self, stream: trio.abc.Stream) -> None:
        session = MuxSession(stream, Side.ACCEPTER)
        self.sessions.append(session)
        with trio.CancelScope() as scope:
            self.scopes.append(scope)
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(session.run)
                    if self.refusing:
                        await session.drain(code=ErrorCode.REFUSED, text=self.refusing)
                    while True:
                        pending = await session.accept_channel()
                        nursery.start_soon(self.answer, pending)
            except* TunnelClosedError:
                pass

    def break_off(self) -> None:
        self.scopes[-1].cancel()

    def link(self) -> HubLink:
        return HubLink(connect=self.connect, say=self.said.append, jitter=lambda: 0.5)


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Hubs, HubLink]]:
    async with trio.open_nursery() as nursery:
        hubs = Hubs(nursery)
        link = hubs.link()
        await nursery.start(link.run)
        yield hubs, link
        nursery.cancel_scope.cancel()


async def echo(link: HubLink) -> bytes:
    async with await link.open(HEADER) as channel:
        await channel.send_all(b"hello")
        return bytes(await channel.receive_some())


async def test_channels_in_one_connection(autojump_clock: MockClock) -> None:
    async with linked() as (hubs, link):
        assert [await echo(link) for _ in range(3)] == [b"hello"] * 3
    assert (hubs.attempts, hubs.said) == (1, [])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"down": CliError("cannot connect", "refused", "start it")}, "cannot connect: refused; start it"),
        ({"refusing": "user alice is locked"}, "user alice is locked"),
        ({"hangs_up": True}, "the connection to the hub was lost"),
        ({"silent": True}, f"the hub does not answer within {UP_SECONDS} s; try again"),
    ],
    ids=["down", "refusing", "hangs-up", "silent"],
)
async def test_the_first_connection_has_to_succeed(
    autojump_clock: MockClock, change: dict[str, object], why: str
) -> None:
    async with trio.open_nursery() as nursery:
        hubs = Hubs(nursery)
        for name, value in change.items():
            setattr(hubs, name, value)
        with pytest.raises(ExceptionGroup) as failed:
            await nursery.start(hubs.link().run)
        nursery.cancel_scope.cancel()
    cause: BaseException = failed.value
    while isinstance(cause, ExceptionGroup):
        (cause,) = cause.exceptions
    assert (type(cause), str(cause), hubs.said) == (CliError, why, [])


async def test_hundreds_at_once_take_turns(autojump_clock: MockClock) -> None:
    """A hub lets 256 channels wait for an answer and rejects the others."""
    waiting = most = 0

    async def accept_later(pending: PendingChannel) -> None:
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await trio.sleep(1)
        waiting -= 1
        await accept(pending)

    async with linked() as (hubs, link), trio.open_nursery() as nursery:
        hubs.answer = accept_later
        for _ in range(400):
            nursery.start_soon(echo, link)
    assert most == OPENINGS
    assert hubs.said == []


async def test_an_answer_may_take_longer_than_a_connection(autojump_clock: MockClock) -> None:
    """The hub tries several agents."""

    async def accept_late(pending: PendingChannel) -> None:
        await trio.sleep(OPEN_SECONDS - 1)
        await accept(pending)

    async with linked() as (hubs, link):
        hubs.answer = accept_late
        assert await echo(link) == b"hello"


async def test_a_hub_that_restarts(autojump_clock: MockClock) -> None:
    """Each cause is said once, whatever the number of attempts."""
    async with linked() as (hubs, link):
        assert await echo(link) == b"hello"
        hubs.hangs_up = True
        hubs.break_off()
        await trio.sleep(20)
        hubs.down = CliError("cannot connect", "connection refused", "is it running?")
        await trio.sleep(60)
        assert hubs.attempts > 10
        hubs.down, hubs.hangs_up = None, False
        assert await echo(link) == b"hello"
    assert hubs.said == [
        "the connection to the hub was lost; connecting again",
        "the connection to the hub was lost",
        "cannot connect: connection refused; is it running?",
        "connected to the hub again",
    ]


async def test_a_certificate_that_expires_is_said_once_and_a_new_login_helps(
    autojump_clock: MockClock,
) -> None:
    """The text has the time in it; the remedy is what tells causes apart."""
    ages = iter(range(1000))

    class Expired(CliError):
        def __str__(self) -> str:
            return f"your certificate expired {next(ages)} s ago; run msh login"

    async with linked() as (hubs, link):
        hubs.down = Expired("your certificate expired", "", "run msh login")
        hubs.break_off()
        with pytest.raises(CliError) as failed:
            await link.open(HEADER)
        assert str(failed.value).startswith("there is no connection to the hub: your certificate expired ")
        hubs.down = None
        assert await echo(link) == b"hello"
    assert len(hubs.said) == 3
    assert hubs.said[1] == "your certificate expired 0 s ago; run msh login"


async def test_a_channel_waits_for_a_connection(autojump_clock: MockClock) -> None:
    async with linked() as (hubs, link), trio.open_nursery() as nursery:
        hubs.down = OSError("no route")
        hubs.break_off()
        await trio.testing.wait_all_tasks_blocked()
        answers: list[bytes] = []

        async def ask() -> None:
            answers.append(await echo(link))

        nursery.start_soon(ask)
        await trio.sleep(WAIT_SECONDS / 3)
        hubs.down = None
        await trio.sleep(WAIT_SECONDS / 3)
        assert answers == [b"hello"]
        nursery.cancel_scope.cancel()


async def test_a_hub_that_goes_away_finishes_what_it_carries(autojump_clock: MockClock) -> None:
    async with linked() as (hubs, link):
        old = await link.open(HEADER)
        hubs.sessions[0].send_goaway(text="the hub is shutting down")
        await trio.testing.wait_all_tasks_blocked()
        assert await echo(link) == b"hello"
        assert hubs.attempts == 2
        await old.send_all(b"still here")
        assert await old.receive_some() == b"still here"
        await old.aclose()
        with trio.fail_after(5):
            await hubs.sessions[0].wait_closed()
    assert hubs.said == ["the hub is shutting down; connecting again", "connected to the hub again"]


async def test_who_is_sent_away_hears_why(autojump_clock: MockClock) -> None:
    async with linked() as (hubs, link):
        hubs.refusing = "user alice is locked"
        hubs.break_off()
        with pytest.raises(
            CliError, match="there is no connection to the hub: user alice is locked; try again"
        ):
            await link.open(HEADER)
    assert hubs.said == ["the connection to the hub was lost; connecting again", "user alice is locked"]


async def test_a_refused_channel_is_the_callers(autojump_clock: MockClock) -> None:
    async def refuse(pending: PendingChannel) -> None:
        pending.reject(ErrorCode.NOT_FOUND, "no such application")

    async with linked() as (hubs, link):
        hubs.answer = refuse
        with pytest.raises(ChannelRejectedError, match="no such application"):
            await link.open(HEADER)
    assert hubs.said == []
