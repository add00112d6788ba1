# SPDX-License-Identifier: Apache-2.0
"""A connection to the hub that outlives hubs: made again, for ever, whenever it ends.

The profile is read anew at each connection, so a `msh login` in another terminal is enough to go on with a fresh
certificate.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NoReturn

import trio

from mezite.cli.terminal.errors import CliError
from mezite.core.backoff import Backoff
from mezite.core.errors import ExplainedError
from mezite.core.mux.connection import ChannelHeader, Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.net.mux_channel import MuxChannel
from mezite.net.mux_session import ChannelRejectedError, MuxSession, TunnelClosedError

__all__ = ["HubLink"]

UP_SECONDS = 15
"""From a TLS session to a first round trip; a healthy hub takes milliseconds."""

LONGEST_PAUSE_SECONDS = 5.0
"""Between attempts. Somebody sits in front of it; and there are fewer users than agents."""

OPEN_SECONDS = 30
"""What a channel may take: the hub tries up to four agents, for 7 s each."""

OPENINGS = 64
"""Channels that wait for the hub's answer; more wait here for their turn. A hub rejects what is beyond 256."""

WAIT_SECONDS = 15
"""How long a channel waits for a connection to the hub: long enough for one that restarts."""


class HubLink:
    """Keeps one connection and opens channels in it.

    `connect` returns a stream to a hub that has proven to be it, or raises ExplainedError. `say` is told, in a
    sentence, of what interrupts the connection and of its return. `jitter` gives numbers in [0, 1).
    """

    def __init__(
        self,
        *,
        connect: Callable[[], Awaitable[trio.abc.Stream]],
        say: Callable[[str], None],
        jitter: Callable[[], float],
    ) -> None:
        self._connect = connect
        self._say = say
        self._jitter = jitter
        self._backoff = Backoff(maximum=LONGEST_PAUSE_SECONDS)
        self._session: MuxSession | None = None
        self._connected = trio.lowlevel.ParkingLot()
        self._turns = trio.Semaphore(OPENINGS)
        self._why = ""
        """Why there is no connection; empty while there is one."""
        self._kind = ""
        """What of it tells one cause from another: the wording may carry the time."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Keep connected until cancelled; `started` when the first connection is there.

        Once started, nothing is raised: failures are said and tried again.

        :raises ExplainedError: the first connection could not be made.
        """
        async with trio.open_nursery() as sessions:
            session = await self._dial(sessions)
            task_status.started()
            while True:
                since = trio.current_time()
                self._session = session
                self._connected.unpark_all()
                await session.wait_goaway()
                self._session = None
                self._backoff.link_lasted(trio.current_time() - since)
                self._tell(f"{_why_ended(session)}; connecting again")
                sessions.start_soon(session.drain)
                session = await self._dial_again(sessions)
                self._say("connected to the hub again")
                self._why = self._kind = ""
        raise AssertionError("the loop has no end")

    async def open(self, header: ChannelHeader) -> MuxChannel:
        """Open a channel; waits for a connection for 15 s.

        :raises ChannelRejectedError: the hub refuses; its text is for the user.
        :raises CliError: there is no connection to the hub.
        """
        async with self._turns:
            return await self._open(header)

    async def _open(self, header: ChannelHeader) -> MuxChannel:
        deadline = trio.current_time() + WAIT_SECONDS
        while True:
            with trio.CancelScope(deadline=deadline):
                while self._session is None:
                    await self._connected.park()
            session = self._session
            if session is None:
                raise CliError(
                    "there is no connection to the hub", self._why or "it was just lost", "try again"
                )
            try:
                return await session.open_channel(header, deadline_seconds=OPEN_SECONDS)
            except TunnelClosedError:
                pass
            except ChannelRejectedError as rejected:
                if rejected.code is not ErrorCode.DRAINING:
                    raise
            if self._session is session:
                # Its end was seen here first; `run` is told by the session itself.
                self._session = None

    async def _dial(self, sessions: trio.Nursery) -> MuxSession:
        """:raises ExplainedError: no connection, or the hub sends us away."""
        session, scope = MuxSession(await self._connect(), Side.DIALER), trio.CancelScope()
        try:
            with trio.fail_after(UP_SECONDS):
                await sessions.start(_run, session, scope)
                await session.wait_round_trip()
            if session.goaway_received is not None:
                raise CliError(_why_ended(session))
        except TunnelClosedError:
            raise CliError(_why_ended(session)) from None
        except trio.TooSlowError:
            scope.cancel()
            raise CliError(f"the hub does not answer within {UP_SECONDS} s", "", "try again") from None
        except BaseException:
            scope.cancel()
            raise
        return session

    async def _dial_again(self, sessions: trio.Nursery) -> MuxSession:
        while True:
            await trio.sleep(self._backoff.next_wait(self._jitter()))
            try:
                return await self._dial(sessions)
            except (ExplainedError, OSError, trio.BrokenResourceError) as error:
                self._tell(str(error), kind=getattr(error, "hint", ""))

    def _tell(self, text: str, *, kind: str = "") -> None:
        """Say why there is no connection, each cause once until there is one again."""
        self._why = text
        if self._kind != (kind or text):
            self._kind = kind or text
            self._say(text)


async def _run(session: MuxSession, scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    """Fails only before `started`: afterwards whatever happens is an ordinary end, which the channels learn."""
    failure: TunnelClosedError | None = None
    started = False
    try:
        with scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(session.run)
                started = True
                task_status.started()
    except* TunnelClosedError as group:
        failure = _leaf(group)
    if failure is not None and not started:
        raise failure


def _leaf(group: BaseExceptionGroup[TunnelClosedError]) -> TunnelClosedError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, TunnelClosedError)
    return error


def _why_ended(session: MuxSession) -> str:
    goaway = session.goaway_received
    if goaway is not None and goaway.text:
        return goaway.text
    return "the connection to the hub was lost"
