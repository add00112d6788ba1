# SPDX-License-Identifier: Apache-2.0
"""Applications: the hub names an address, the agent dials it and passes the bytes on.

The channel comes out of a tunnel whose other end has proven to be a hub of this cluster; who may use which application
was decided there. Nothing of an application is configured on the agent.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import attrs
import trio

from mezite.core.errors import ExplainedError
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.header import ChannelHeader
from mezite.net.addresses import split_host_port
from mezite.net.byte_streams import abort_stream, relay
from mezite.net.dialer import DialError, dial
from mezite.net.mux_session import PendingChannel

__all__ = ["AppChannels"]

_log = logging.getLogger("mezite.agent.apps")

DIAL_SECONDS = 10.0
"""When the hub names no deadline, and the most that it gets: somebody waits for the answer."""

MAX_DIALS = 64
"""Dials in flight. With the up to eight sockets of each they stay below the 1,024 descriptors of an ordinary process;
more wait for their turn, and the tunnel lets only 256 channels wait."""


@attrs.define(eq=False)
class AppChannels:
    """Serves the channels of kind `app` of one agent."""

    _turns: trio.Semaphore = attrs.field(factory=lambda: trio.Semaphore(MAX_DIALS), init=False)
    _dial: Callable[..., Awaitable[trio.SocketStream]] = dial

    async def serve(self, pending: PendingChannel) -> None:
        """Dial what the channel's header names, accept, and relay until both directions have ended.

        What cannot be reached is rejected with UNREACHABLE and the reason, what is no address with REFUSED. Cancelling
        resets both sides.
        """
        header = pending.header
        problem = objection_to(header.target)
        if problem:
            pending.reject(ErrorCode.REFUSED, problem)
            return
        try:
            stream = await self._reach(header)
        except ExplainedError as error:
            why = f"{error.what}: {error.why}"
            _log.info(
                "cannot reach an application",
                extra={"app": header.attributes.get("app", ""), "reason": why},
            )
            pending.reject(ErrorCode.UNREACHABLE, why)
            return
        try:
            channel = await pending.accept()
        except BaseException:
            await abort_stream(stream, ErrorCode.CANCELLED, "nobody waits for it any more")
            raise
        await relay(channel, stream)

    async def _reach(self, header: ChannelHeader) -> trio.SocketStream:
        """:raises ExplainedError: it cannot be reached, or not in time."""
        asked = header.deadline_ms / 1000
        seconds = min(asked, DIAL_SECONDS) if asked else DIAL_SECONDS
        start = trio.current_time()
        with trio.move_on_after(seconds) as waiting:
            await self._turns.acquire()
        if waiting.cancelled_caught:
            raise DialError(
                f"cannot connect to {header.target}",
                f"this agent is busy with {MAX_DIALS} other connections that get no answer",
            )
        try:
            left = max(0.0, start + seconds - trio.current_time())
            return await self._dial(header.target, 0, deadline_seconds=left)
        finally:
            self._turns.release()


def objection_to(target: str) -> str:
    """Return what is wrong with an address to dial; empty when nothing is."""
    try:
        _host, port = split_host_port(target, 0)
    except ValueError as error:
        return f"cannot dial: {error}"
    return "" if port else f"cannot dial {target}: it names no port"
