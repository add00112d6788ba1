# SPDX-License-Identifier: Apache-2.0
"""How a hub runs the mux session of an accepted connection, and how it refuses one with a reason."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import trio

from mezite.core.errors import LocalProtocolError
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.flow_window import GrowthPool
from mezite.net.mux_session import MuxSession, PendingChannel, TunnelClosedError

__all__ = ["ServeApi", "dismiss", "guarded", "new_window_pool", "running", "say_goodbye"]

_log = logging.getLogger("mezite.tunnel")

ServeApi = Callable[[trio.abc.Stream, str, bytes | None], Awaitable[None]]
"""Serves the gRPC API on a stream: `(stream, client address, client certificate as DER or None)`."""

WINDOW_POOL_BYTES = 1024 * 1024 * 1024
"""What the windows of all sessions of a hub may grow by together (threats B2, B9): 64 channels at their largest."""

GOODBYE_SECONDS = 5
"""Long enough for one frame to cross any usable network; the peer has proven nothing, so it gets no more."""

RETRY_SECONDS = 30.0
"""What the peer is asked to wait: the cause is one that a person has to mend."""


def new_window_pool() -> GrowthPool:
    """Return the pool that all sessions of one hub share."""
    return GrowthPool(WINDOW_POOL_BYTES)


@asynccontextmanager
async def running(session: MuxSession) -> AsyncIterator[trio.Nursery]:
    """Run `session` for the duration of the block and give a nursery for its channels.

    That the peer went away is an ordinary end: the block is left, and nothing is raised. Leaving the block closes the
    session and cancels the channels.

    :raises trio.BrokenResourceError: the peer went away before it had shown that it speaks the protocol.
    """
    started = False
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(session.run)
            started = True
            try:
                yield nursery
            finally:
                nursery.cancel_scope.cancel()
    except* TunnelClosedError as group:
        _log.debug("session ended", extra={"reason": str(group.exceptions[0])})
    if not started:
        raise trio.BrokenResourceError("the peer went away before the session began")


async def guarded(serve: Callable[[PendingChannel], Awaitable[None]], pending: PendingChannel) -> None:
    """Serve one channel; its failure is not the session's (threat P3). One that was not accepted is rejected."""
    try:
        await serve(pending)
    except* (TunnelClosedError, trio.BrokenResourceError, trio.ClosedResourceError) as group:
        _log.debug("channel ended early", extra={"reason": repr(group.exceptions[0])})
    except* Exception as group:  # noqa: BLE001 - the channel's wall
        _log.error("a channel failed", extra={"kind": pending.header.kind[:32]}, exc_info=group)
        with suppress(LocalProtocolError):  # when it was accepted before
            pending.reject(ErrorCode.INTERNAL_ERROR, "internal error: the hub's log has the details")


async def say_goodbye(session: MuxSession, code: ErrorCode, text: str) -> None:
    """Run `session` just long enough to send GOAWAY with `code` and `text`, then close it."""
    with trio.move_on_after(GOODBYE_SECONDS):
        async with running(session):
            await dismiss(session, code, text)


async def dismiss(session: MuxSession, code: ErrorCode, text: str) -> None:
    """Send GOAWAY with `code` and `text` on a session that runs, and give the peer a moment to leave."""
    with trio.move_on_after(GOODBYE_SECONDS):
        await session.drain(retry_after=RETRY_SECONDS, code=code, text=text)
