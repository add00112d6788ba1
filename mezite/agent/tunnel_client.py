# SPDX-License-Identifier: Apache-2.0
"""The agent's side of the tunnel: dial, prove, serve, and again, for as long as the agent lives (threat B5).

One loop dials; each connection that comes up is served by a task of its own. When a hub says that it goes away, the
loop dials the next connection at once, while the old one serves what it has to its end: no dial is refused meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

import attrs
import trio

from mezite.core.backoff import Backoff
from mezite.core.mux.connection import Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.net.dialer import DialError
from mezite.net.mux_session import MuxSession, PendingChannel, TunnelClosedError

__all__ = ["TunnelClient", "TunnelRefusedError"]

_log = logging.getLogger("mezite.agent.tunnel")

UP_SECONDS = 15
"""From a TLS session to a proven round trip; a healthy hub takes milliseconds, a restarting one seconds."""


class TunnelRefusedError(Exception):
    """What answered is not a hub this agent can hold a tunnel to; the text says what to do."""


_UNREACHABLE = (
    OSError,
    DialError,
    TunnelRefusedError,
    TunnelClosedError,
    trio.BrokenResourceError,
    trio.TooSlowError,
)


@attrs.define(eq=False)
class _Connection:
    """One tunnel that came up."""

    session: MuxSession
    since: float
    over: trio.Event = attrs.field(factory=trio.Event)
    """Set when the loop should dial again: the tunnel has ended, or its hub is going away."""
    why: str = ""

    def end(self, why: str) -> None:
        """Let the loop dial again; the first reason counts."""
        if not self.over.is_set():
            self.why = why
            self.over.set()


class TunnelClient:
    """Keeps a tunnel to a hub.

    `connect` dials and proves both sides, and returns the stream. `serve_channel` is given every channel that the hub
    opens. `beside` runs along with each tunnel and is cancelled when that ends. `jitter` gives numbers in [0, 1).
    """

    def __init__(
        self,
        *,
        connect: Callable[[], Awaitable[trio.abc.Stream]],
        serve_channel: Callable[[PendingChannel], Awaitable[None]],
        beside: Callable[[MuxSession], Awaitable[None]],
        jitter: Callable[[], float],
    ) -> None:
        self._connect = connect
        self._serve_channel = serve_channel
        self._beside = beside
        self._jitter = jitter
        self._backoff = Backoff()
        self.connected_at: float | None = None
        """`trio.current_time()` of when the newest tunnel came up, None while there is none: the health gauge."""

    async def run(self) -> NoReturn:
        """Hold a tunnel for ever. Cancelling closes all connections."""
        previous: _Connection | None = None
        async with trio.open_nursery() as connections:
            while True:
                connection = await self._dial(connections)
                if connection is None:
                    continue
                if previous is not None:
                    connections.start_soon(self._let_go, previous)
                await connection.over.wait()
                previous = connection
                self.connected_at = None
                self._backoff.link_lasted(trio.current_time() - connection.since)
                await self._wait("tunnel disconnected, retrying", connection.why)
        raise AssertionError("the loop has no end")

    async def _dial(self, connections: trio.Nursery) -> _Connection | None:
        try:
            connection: _Connection = await connections.start(self._run_connection)
        except _UNREACHABLE as error:
            why = "no answer in time" if isinstance(error, trio.TooSlowError) else str(error)
        except Exception as error:  # noqa: BLE001 - the supervisor's wall
            # Whatever it was, an agent that gives up is lost to everyone (threat B5).
            _log.exception("dialling the hub failed in an unforeseen way")
            why = repr(error)
        else:
            self.connected_at = trio.current_time()
            _log.info("tunnel connected")
            return connection
        await self._wait("cannot reach the hub, retrying", why)
        return None

    async def _wait(self, what: str, why: str) -> None:
        seconds = self._backoff.next_wait(self._jitter())
        _log.warning(what, extra={"reason": why, "retry_in_seconds": round(seconds, 2)})
        await trio.sleep(seconds)

    async def _run_connection(self, *, task_status: trio.TaskStatus[_Connection]) -> None:
        """Fails only before `started`: afterwards whatever happens is an ordinary end."""
        session = MuxSession(await self._connect(), Side.DIALER)
        connection = _Connection(session, trio.current_time())
        failure: BaseException | None = None
        started = False
        try:
            async with trio.open_nursery() as nursery:
                with trio.fail_after(UP_SECONDS):
                    await nursery.start(session.run)
                    await session.wait_round_trip()
                started = True
                task_status.started(connection)
                nursery.start_soon(self._watch_goaway, connection)
                nursery.start_soon(self._guard, self._beside, session)
                while True:
                    nursery.start_soon(self._guard, self._serve_channel, await session.accept_channel())
        except* Exception as group:  # noqa: BLE001 - raised or kept below
            # Channels guard themselves: it is the session that has ended, or has not come up.
            failure = _leaf(group)
        # It may have come together with the end, before anybody had looked.
        self._heed_goaway(connection)
        if failure is not None and not started:
            raise failure
        connection.end(str(failure))

    async def _guard(self, function: Callable[..., Awaitable[None]], argument: object) -> None:
        """One channel's failure is not the tunnel's (threat P3)."""
        try:
            await function(argument)
        except* (TunnelClosedError, trio.BrokenResourceError, trio.ClosedResourceError) as group:
            _log.debug("channel ended", extra={"reason": str(_leaf(group))})
        except* Exception as group:  # noqa: BLE001 - the channel's wall
            _log.error("a channel failed", exc_info=group)

    async def _let_go(self, previous: _Connection) -> None:
        """The next tunnel is up: end the one before as soon as its channels are done; at once if it is over."""
        await previous.session.drain(text="the agent has another tunnel")

    async def _watch_goaway(self, connection: _Connection) -> None:
        """Dial the next connection as soon as the hub goes away; let this one finish."""
        await connection.session.wait_goaway()
        self._heed_goaway(connection)

    def _heed_goaway(self, connection: _Connection) -> None:
        goaway = connection.session.goaway_received
        if goaway is None or connection.over.is_set():
            return
        why = goaway.text or "the hub is going away"
        level = logging.INFO if goaway.code is ErrorCode.DRAINING else logging.ERROR
        _log.log(level, "the hub ends the tunnel", extra={"reason": why})
        self._backoff.peer_named_wait(goaway.retry_after_ms / 1000)
        connection.end(why)


def _leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
