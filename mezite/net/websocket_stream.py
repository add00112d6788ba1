# SPDX-License-Identifier: Apache-2.0
"""A byte stream in the binary messages of a WebSocket.

Where messages begin and end means nothing. A WebSocket has no half-close, so an **empty binary message** ends one
direction and leaves the other; a close frame ends both. A text message is an error (1003).
"""

from __future__ import annotations

import trio
from wsproto.frame_protocol import CloseReason

from .byte_streams import receive_limit
from .conflict_detector import ConflictDetector
from .websocket_connection import WebSocketConnection, WebSocketError

__all__ = ["WebSocketStream"]

#: Bytes per message: large enough that a message costs less than its encryption, and an eighth of what we take.
MESSAGE_BYTES = 128 * 1024


class WebSocketStream(trio.abc.HalfCloseableStream):
    """The bytes of ``connection``, which it owns."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self._connection = connection
        self._rest = memoryview(b"")
        self._eof_sent = False
        self._eof_received = False
        self._closed = False
        self._sending = ConflictDetector("another task is sending on this WebSocket stream")
        self._receiving = ConflictDetector("another task is receiving on this WebSocket stream")

    @property
    def connection(self) -> WebSocketConnection:
        """The WebSocket, for its keepalive."""
        return self._connection

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """1 to ``max_bytes`` bytes, as soon as there are some; empty at the end. Cancelling loses nothing."""
        with self._receiving:
            limit = receive_limit(max_bytes, 1024 * 1024)
            if self._closed:
                raise trio.ClosedResourceError("this WebSocket stream was closed here")
            if self._rest or self._eof_received:
                await trio.lowlevel.checkpoint()
            while not self._rest and not self._eof_received:
                self._rest = memoryview(await self._next_bytes())
            data = bytes(self._rest[:limit])
            self._rest = self._rest[limit:]
            return data

    async def _next_bytes(self) -> bytes:
        piece = await self._connection.receive()
        if piece is None:
            self._eof_received = True
            return b""
        if isinstance(piece.data, str):
            await self._connection.close(CloseReason.UNSUPPORTED_DATA, "binary messages only")
            raise WebSocketError(CloseReason.UNSUPPORTED_DATA, "a text message where bytes belong")
        self._eof_received = piece.begins and piece.ends and not piece.data
        return piece.data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data``. Cancelled, the stream is over: a part of a message may be on the wire (threat P1)."""
        with self._sending:
            self._check_sendable()
            await trio.lowlevel.checkpoint()
            with memoryview(data).cast("B") as view:
                for start in range(0, len(view), MESSAGE_BYTES):
                    await self._connection.send(bytes(view[start : start + MESSAGE_BYTES]))

    async def wait_send_all_might_not_block(self) -> None:
        """Until the stream underneath has room."""
        with self._sending:
            self._check_sendable()
            await self._connection.wait_writable()

    async def send_eof(self) -> None:
        """Say that no more data follows; receiving goes on. Repeating it is harmless."""
        with self._sending:
            if self._closed:
                raise trio.ClosedResourceError("this WebSocket stream was closed here")
            if self._eof_sent:
                await trio.lowlevel.checkpoint()
                return
            self._eof_sent = True
            await self._connection.send(b"")

    async def aclose(self) -> None:
        """Close both directions with code 1000. Never raises for a peer that is gone."""
        self._closed = True
        await self._connection.close()

    def _check_sendable(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this WebSocket stream was closed here")
        if self._eof_sent:
            raise trio.ClosedResourceError("send_eof() was called")
