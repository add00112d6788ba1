# SPDX-License-Identifier: Apache-2.0
"""Receiving and sending on a TCP connection in fewer steps than ``trio.SocketStream`` takes.

Two differences, both for bulk. A sender that has just let other tasks run need not let them run again when the
kernel takes everything at once. A reader that got less than it asked for has emptied the socket, and waits
without asking the kernel again; one that got all it asked for asks at once, after other tasks had their turn.
"""

from __future__ import annotations

import os

import attrs
import trio

from mezite.net.shared_buffer import SharedBuffer

__all__ = ["DirectSocket", "PromptPath", "direct_socket"]


def direct_socket(stream: trio.abc.Stream) -> DirectSocket | None:
    """The TCP connection of ``stream``, when nothing between the two has anything to say any more.

    A wrapper tells by its ``bare`` attribute: the stream underneath, or None while it still adds something.
    Whoever uses the result must not let another task use ``stream`` in the same direction.
    """
    inner: object = stream
    while inner is not None and type(inner) is not trio.SocketStream:
        inner = getattr(inner, "bare", None)
    return DirectSocket(inner.socket) if isinstance(inner, trio.SocketStream) else None


@attrs.define(eq=False)
class DirectSocket:
    """One connected socket, which somebody else owns and closes.

    Errors are those of ``trio.abc.Stream``: ClosedResourceError when it was closed here,
    BrokenResourceError for all else.
    """

    _socket: trio.socket.SocketType
    _drained: bool = True

    async def receive_some(self, max_bytes: int) -> bytes:
        """As ``trio.abc.ReceiveStream``; always a checkpoint, cancelling loses nothing."""
        while True:
            descriptor = await self._wait_for_data()
            try:
                data = os.read(descriptor, max_bytes)
            except BlockingIOError:
                continue
            except OSError as error:
                raise broken(error) from error
            self._drained = len(data) < max_bytes
            return data

    async def receive_into(self, buffer: bytearray) -> int:
        """Receive into ``buffer`` and return how many bytes, 0 at the end.

        Always a checkpoint, but none after the buffer was written: it may be shared with other tasks.
        """
        while True:
            descriptor = await self._wait_for_data()
            try:
                count = os.readv(descriptor, [buffer])
            except BlockingIOError:
                continue
            except OSError as error:
                raise broken(error) from error
            self._drained = count < len(buffer)
            return count

    async def send_promptly(self, data: bytes | bytearray | memoryview) -> bool:
        """Send all of ``data``; a checkpoint only when the kernel does not take it at once.

        Returns whether there was one. Cancelled, an unknown part has been sent (threat P1).
        """
        waited = False
        with memoryview(data) as rest:
            sent = 0
            while (sent := sent + self.send_at_once(rest[sent:])) < len(rest):
                await trio.lowlevel.wait_writable(self._descriptor())
                waited = True
        return waited

    def send_at_once(self, data: bytes | bytearray | memoryview) -> int:
        """Send what the kernel takes without waiting; how many bytes that were."""
        try:
            return os.write(self._descriptor(), data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise broken(error) from error

    async def _wait_for_data(self) -> int:
        if self._drained:
            await trio.lowlevel.wait_readable(self._descriptor())
        else:
            await trio.lowlevel.checkpoint()
        # Whatever comes next, the kernel is not asked twice without waiting in between.
        self._drained = True
        return self._descriptor()

    def _descriptor(self) -> int:
        descriptor = self._socket.fileno()
        if descriptor < 0:
            raise trio.ClosedResourceError("this socket was closed here")
        return descriptor


@attrs.define(eq=False)
class PromptPath:
    """``stream``, and the TCP connection under it as soon as there is nothing in between."""

    _stream: trio.abc.Stream
    _direct: DirectSocket | None = attrs.field(default=None, init=False)

    async def receive(self, shared: SharedBuffer) -> bytes | bytearray | memoryview:
        """What arrives next, at most as much as ``shared`` has room for; empty at the end.

        Always a checkpoint. What is returned may be part of ``shared``: use it before the next await.
        """
        buffer = shared.take()
        direct = self._find()
        if direct is None:
            return await self._stream.receive_some(len(buffer))
        return memoryview(buffer)[: await direct.receive_into(buffer)]

    async def send_promptly(self, data: bytes | bytearray | memoryview) -> bool:
        """Send all of ``data``; returns whether there was a checkpoint."""
        direct = self._find()
        if direct is None:
            await self._stream.send_all(data)
            return True
        return await direct.send_promptly(data)

    def send_at_once(self, data: bytes | bytearray | memoryview) -> int:
        """Send what can be sent without waiting, which is nothing while something is in between."""
        direct = self._find()
        return 0 if direct is None else direct.send_at_once(data)

    def _find(self) -> DirectSocket | None:
        if self._direct is None:
            self._direct = direct_socket(self._stream)
        return self._direct


def broken(error: OSError) -> trio.BrokenResourceError:
    """What Trio's streams raise for ``error``."""
    return trio.BrokenResourceError(f"socket connection broken: {error}")
