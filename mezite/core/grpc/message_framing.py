# SPDX-License-Identifier: Apache-2.0
"""Length-prefixed messages: one flag byte, four bytes of length, the message (gRPC over HTTP/2)."""

from __future__ import annotations

from collections import deque

import attrs

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.grpc.status import StatusCode
from mezite.core.mux.events import NEED_DATA, NeedData

__all__ = [
    "MAX_MESSAGE_BYTES",
    "NEED_DATA",
    "EndOfMessages",
    "Message",
    "MessageReader",
    "NeedData",
    "frame_message",
]

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""What gRPC implementations take by default; larger things are streams."""

PREFIX_BYTES = 5


@attrs.frozen
class Message:
    """One whole message, still serialized."""

    data: bytes


@attrs.frozen
class EndOfMessages:
    """The sender is done, after a whole number of messages. Repeats."""


def frame_message(data: bytes, max_bytes: int = MAX_MESSAGE_BYTES) -> bytes:
    """The message with its prefix, uncompressed.

    Raises LocalProtocolError when it is longer than ``max_bytes``: the receiver would refuse it anyway.
    """
    if len(data) > max_bytes:
        raise LocalProtocolError(f"a message of {len(data)} bytes is above the limit of {max_bytes}")
    return b"\0" + len(data).to_bytes(4, "big") + data


@attrs.define(eq=False)
class MessageReader:
    """Bytes of one direction of a call in, messages out.

    It holds at most one incomplete message, so at most ``max_bytes`` plus what was fed at once. After an
    error it stays in error: ``next_event`` raises the same again.
    """

    max_bytes: int = MAX_MESSAGE_BYTES
    _buffer: bytearray = attrs.field(factory=bytearray, init=False)
    _events: deque[Message] = attrs.field(factory=deque, init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _error: RemoteProtocolError | None = attrs.field(default=None, init=False)

    @property
    def buffered_bytes(self) -> int:
        """Bytes of the message that is still incomplete."""
        return len(self._buffer)

    def receive_data(self, data: bytes) -> None:
        """Take bytes. Raises LocalProtocolError after :meth:`receive_eof`."""
        if self._ended:
            raise LocalProtocolError("data after the end")
        if self._error is not None:
            return
        self._buffer += data
        start = 0
        while (end := self._end_of_message(start)) is not None:
            self._events.append(Message(bytes(self._buffer[start + PREFIX_BYTES : end])))
            start = end
        del self._buffer[:start]

    def receive_eof(self) -> None:
        """The sender ended its half."""
        self._ended = True
        if self._buffer and self._error is None:
            self._fail("the stream ended inside a message", StatusCode.INTERNAL)

    def next_event(self) -> Message | EndOfMessages | NeedData:
        """The next message in order, EndOfMessages for ever after the last, or NEED_DATA.

        Raises RemoteProtocolError once the messages before the fault were handed out: with
        RESOURCE_EXHAUSTED for a message above the limit (told from its prefix, before its bytes arrive),
        INTERNAL for a compressed message (no encoding was agreed), an unknown flag, or an end inside a
        message.
        """
        if self._events:
            return self._events.popleft()
        if self._error is not None:
            raise RemoteProtocolError(str(self._error), self._error.code)
        return EndOfMessages() if self._ended else NEED_DATA

    def _end_of_message(self, start: int) -> int | None:
        """Where the message that begins at ``start`` ends, when it is all there."""
        if len(self._buffer) - start < PREFIX_BYTES:
            return None
        flag = self._buffer[start]
        length = int.from_bytes(self._buffer[start + 1 : start + PREFIX_BYTES], "big")
        if flag != 0:
            what = "compressed, but no encoding was agreed" if flag == 1 else "prefixed with an unknown flag"
            self._fail(f"a message is {what}", StatusCode.INTERNAL)
            return None
        if length > self.max_bytes:
            text = f"a message of {length} bytes is above the limit of {self.max_bytes}"
            self._fail(text, StatusCode.RESOURCE_EXHAUSTED)
            return None
        end = start + PREFIX_BYTES + length
        return end if end <= len(self._buffer) else None

    def _fail(self, text: str, code: StatusCode) -> None:
        self._buffer.clear()
        self._error = RemoteProtocolError(text, code)
