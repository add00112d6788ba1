# SPDX-License-Identifier: Apache-2.0
"""A channel and a stream joined into one path."""

from __future__ import annotations

from collections.abc import Callable

import trio

from mezite.ssh.channel import Channel

__all__ = ["WayEndedError", "splice"]

_CHUNK_BYTES = 128 * 1024
#: For what a client sent before it closed, into a stream that does not take it.
_LAST_BYTES_SECONDS = 30.0
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


class WayEndedError(trio.BrokenResourceError):
    """Raised by a stream that was ended on purpose; the text is for the user."""


def _say_nothing(_words: str) -> None:
    """The end of the channel has to do."""


async def splice(
    channel: Channel, stream: trio.abc.Stream, *, say: Callable[[str], None] = _say_nothing
) -> None:
    """Copy both ways until both ended or one broke; then both are closed, also when cancelled.

    An end of file is passed on by itself: scp and rsync hang when it is not. What the client sent before
    closing the channel still reaches the stream.

    When the stream was ended on purpose, ``say`` gets the words before the channel is closed: clients leave then.
    """
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_copy_up, channel, stream, nursery.cancel_scope, say)
            async with trio.open_nursery() as down:
                down.start_soon(_watch_close, channel, down.cancel_scope, nursery.cancel_scope)
                await _copy_down(stream, channel, nursery.cancel_scope, say)
                down.cancel_scope.cancel()
    finally:
        channel.close()
        await trio.aclose_forcefully(stream)


async def _watch_close(channel: Channel, down: trio.CancelScope, everything: trio.CancelScope) -> None:
    await channel.peer_closed.wait()
    everything.deadline = trio.current_time() + _LAST_BYTES_SECONDS
    down.cancel()


async def _copy_up(
    channel: Channel, stream: trio.abc.Stream, broken: trio.CancelScope, say: Callable[[str], None]
) -> None:
    try:
        while data := await channel.receive_some():
            await stream.send_all(data)
        if isinstance(stream, trio.abc.HalfCloseableStream):
            await stream.send_eof()
    except _BROKEN as error:
        if isinstance(error, WayEndedError):
            say(str(error))
        broken.cancel()


async def _copy_down(
    stream: trio.abc.Stream, channel: Channel, broken: trio.CancelScope, say: Callable[[str], None]
) -> None:
    try:
        while data := await stream.receive_some(_CHUNK_BYTES):
            await channel.send_all(data)
        await channel.send_eof()
    except _BROKEN as error:
        if isinstance(error, WayEndedError):
            say(str(error))
        broken.cancel()
