# SPDX-License-Identifier: Apache-2.0
"""One WebSocket (RFC 6455) on a stream, from the end of the upgrade on.

Why wsproto and not trio-websocket: a tunnel wants the bytes of a message as they come, and wants to stop reading when
nobody takes them. wsproto hands out pieces of messages and leaves the reading to us, so back-pressure is that of the
stream underneath and nothing is queued. No extension is offered or accepted: what travels here is encrypted.

Reading never writes: the answer to a ping waits for the next send, or for :meth:`keep_alive`. Otherwise a reader could
block behind a peer that does not read (as in ``tls_stream``).
"""

from __future__ import annotations

import contextlib
from typing import NoReturn

import attrs
import trio
from wsproto.connection import Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.frame_protocol import CloseReason

__all__ = ["KEEPALIVE_SECONDS", "Piece", "WebSocketConnection", "WebSocketError"]

#: Balancers end connections on which nothing moves: nginx and AWS after 60 s by default, HAProxy as configured, usually
#: 50 to 60. A ping and its answer make both directions move, with one to spare.
KEEPALIVE_SECONDS = 20.0

#: Without any byte for so long the peer is gone; two pings have gone unanswered by then.
SILENCE_SECONDS = 50.0

#: Largest message that is taken. Ours are an eighth of it.
MAX_MESSAGE_BYTES = 1024 * 1024

#: Frames that carry no data, per second. Keeping alive takes a few a minute; a flood of them is work for nothing.
MAX_EMPTY_FRAMES = 1000

#: How long a graceful close may wait for a peer that does not read.
CLOSE_SECONDS = 2.0

READ_BYTES = 512 * 1024


class WebSocketError(trio.BrokenResourceError):
    """The WebSocket is over before its time: ``code`` as in RFC 6455 section 7.4, and ``reason``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"WebSocket: {reason} (code {code})")
        self.code = code
        self.reason = reason


@attrs.frozen
class Piece:
    """Some of a message."""

    data: bytes | str
    """May be empty: the rest of a message, or an empty one."""
    begins: bool
    ends: bool


@attrs.define(eq=False)
class _FrameRate:
    """Counts the frames without data in the current second."""

    since: float = -1.0
    count: int = 0

    def note(self) -> None:
        """One more. Raises :exc:`WebSocketError` for a flood."""
        now = trio.current_time()
        if now - self.since >= 1.0:
            self.since, self.count = now, 0
        self.count += 1
        if self.count > MAX_EMPTY_FRAMES:
            raise WebSocketError(CloseReason.POLICY_VIOLATION, "too many frames without data")


class WebSocketConnection:
    """A WebSocket whose upgrade is done; owns ``stream``.

    ``protocol`` holds what came behind the upgrade. One task may receive and any may send.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        protocol: Connection,
        *,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._stream = stream
        self._max_message_bytes = max_message_bytes
        self._protocol = protocol
        self._writing = trio.Lock()
        self._message_size: int | None = None
        self._pong: bytes | None = None
        self._owing = trio.Event()
        self._empty_frames = _FrameRate()
        self._waiting_since: float | None = None
        self._closed = False
        self._broken = False
        self._ended = False

    @property
    def transport(self) -> trio.abc.Stream:
        """The stream underneath."""
        return self._stream

    # -- receiving

    async def receive(self) -> Piece | None:
        """The next piece of a message; None when the peer has closed in order, again and again.

        Raises :exc:`WebSocketError` when it closed with another code than 1000 or 1001, broke the protocol, or went
        away without a word; and :exc:`trio.ClosedResourceError`. Cancelling loses nothing.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        piece, waited = None, False
        while piece is None and not self._ended:
            self._check_open()
            try:
                piece = self._next_piece()
            except WebSocketError as error:
                await self._fail(error)
                raise
            if piece is None and not self._ended:
                waited = True
                await self._read()
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return piece

    async def receive_message(self, max_bytes: int) -> bytes | str | None:
        """A whole message of at most ``max_bytes`` (of UTF-8, for text); None when the peer has closed in order.

        A larger one closes with 1009. Raises as :meth:`receive`; cancelling loses the message that was on its way.
        """
        pieces: list[bytes | str] = []
        size = 0
        while (piece := await self.receive()) is not None:
            pieces.append(piece.data)
            size += len(piece.data.encode() if isinstance(piece.data, str) else piece.data)
            if size > max_bytes:
                error = WebSocketError(
                    CloseReason.MESSAGE_TOO_BIG, f"a message is larger than {max_bytes} bytes"
                )
                await self._fail(error)
                raise error
            if piece.ends:
                texts = [part for part in pieces if isinstance(part, str)]
                return "".join(texts) if texts else b"".join(p for p in pieces if isinstance(p, bytes))
        return None

    def _next_piece(self) -> Piece | None:
        for event in self._protocol.events():
            if isinstance(event, BytesMessage | TextMessage) and (piece := self._piece(event)) is not None:
                return piece
            if isinstance(event, Ping):
                self._empty_frames.note()
                # Only the last ping has to be answered (RFC 6455 section 5.5.3).
                self._pong = bytes(event.payload)
                self._owing.set()
            elif isinstance(event, Pong):
                self._empty_frames.note()
            elif isinstance(event, CloseConnection):
                self._note_close(event)
                return None
        return None

    def _piece(self, event: BytesMessage | TextMessage) -> Piece | None:
        begins = self._message_size is None
        self._message_size = (self._message_size or 0) + len(event.data)
        if self._message_size > self._max_message_bytes:
            raise WebSocketError(
                CloseReason.MESSAGE_TOO_BIG, f"a message is larger than {self._max_message_bytes} bytes"
            )
        if not event.data:
            self._empty_frames.note()
        if event.message_finished:
            self._message_size = None
        elif not event.data:
            return None
        data = event.data if isinstance(event, TextMessage) else bytes(event.data)
        return Piece(data, begins, event.message_finished)

    def _note_close(self, event: CloseConnection) -> None:
        if self._protocol.state in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING):
            # Not the peer's frame: wsproto says in this way that it could not read one.
            raise WebSocketError(event.code, event.reason or "broken frame")
        self._ended = True
        if event.code not in (
            CloseReason.NORMAL_CLOSURE,
            CloseReason.GOING_AWAY,
            CloseReason.NO_STATUS_RCVD,
        ):
            self._broken = True
            raise WebSocketError(event.code, f"closed by the peer: {event.reason or 'no reason given'}")

    async def _read(self) -> None:
        self._waiting_since = trio.current_time()
        try:
            data = await self._stream.receive_some(READ_BYTES)
        except trio.ClosedResourceError:
            self._check_open()
            raise
        finally:
            self._waiting_since = None
        self._check_open()
        if not data:
            self._broken = True
            raise WebSocketError(CloseReason.ABNORMAL_CLOSURE, "the connection ended without a close frame")
        self._protocol.receive_data(bytes(data))

    async def _fail(self, error: WebSocketError) -> None:
        """Tell the peer what it did, in a moment, and be done with it."""
        if self._broken:
            return
        with trio.move_on_after(CLOSE_SECONDS):
            await self._close(error.code, error.reason)
        self._broken = True
        await trio.aclose_forcefully(self._stream)

    # -- sending

    async def send(self, data: bytes | str) -> None:
        """Send one message.

        Raises :exc:`trio.BrokenResourceError` when the peer is gone or has closed. Cancelled while it writes, the
        connection is over: a part of a frame may be on the wire (threat P1).
        """
        async with self._writing:
            self._check_open()
            event = TextMessage(data=data) if isinstance(data, str) else BytesMessage(data=data)
            await self._write(event)

    async def ping(self) -> None:
        """Make both directions move: the peer answers by itself."""
        async with self._writing:
            self._check_open()
            await self._write(Ping())

    async def wait_writable(self) -> None:
        """Wait until the stream underneath has room."""
        async with self._writing:
            self._check_open()
            await self._stream.wait_send_all_might_not_block()

    async def keep_alive(self, seconds: float = KEEPALIVE_SECONDS) -> NoReturn:
        """Ping every ``seconds`` and answer the peer's pings at once; end the connection when the peer is silent.

        Raises what :meth:`send` raises, and :exc:`WebSocketError` for silence.
        """
        while True:
            with trio.move_on_after(seconds):
                await self._owing.wait()
            since = self._waiting_since
            if since is not None and trio.current_time() - since > SILENCE_SECONDS:
                self._broken = True
                await trio.aclose_forcefully(self._stream)
                raise WebSocketError(
                    CloseReason.ABNORMAL_CLOSURE, f"the peer said nothing for {SILENCE_SECONDS:g} s"
                )
            if self._owing.is_set():
                async with self._writing:
                    self._check_open()
                    await self._write(None)
            else:
                await self.ping()

    async def _write(self, event: Event | None) -> None:
        """Send ``event`` behind what is owed; the caller holds the lock."""
        data = b""
        if self._protocol.state is not ConnectionState.OPEN:
            raise trio.BrokenResourceError("the peer has closed the WebSocket")
        if self._pong is not None:
            data = self._protocol.send(Pong(payload=self._pong))
            self._pong = None
            self._owing = trio.Event()
        if event is not None:
            frame = self._protocol.send(event)
            data = data + frame if data else frame
        try:
            await self._stream.send_all(data)
        except BaseException:
            self._broken = True
            await trio.aclose_forcefully(self._stream)
            raise

    # -- closing

    async def close(self, code: int = CloseReason.NORMAL_CLOSURE, reason: str = "") -> None:
        """Say goodbye with ``code`` and ``reason`` if that is possible in two seconds, and close the stream.

        Never raises for a peer that is gone. What other tasks were doing here ends with ClosedResourceError.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        polite = not self._broken and not self._writing.locked()
        self._closed = True
        try:
            if polite:
                with trio.move_on_after(CLOSE_SECONDS):
                    await self._close(code, reason)
        finally:
            await self._stream.aclose()

    async def _close(self, code: int, reason: str) -> None:
        if self._protocol.state not in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            return
        # 123 bytes of reason fit into a control frame; 1006 is never sent (RFC 6455 section 7.4.1).
        text = reason.encode("utf-8")[:120].decode("utf-8", "ignore")
        frame = self._protocol.send(CloseConnection(code=code, reason=text or None))
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            await self._stream.send_all(frame)

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this WebSocket was closed here")
        if self._broken:
            raise trio.BrokenResourceError("this WebSocket failed earlier")
