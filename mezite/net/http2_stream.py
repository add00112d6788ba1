# SPDX-License-Identifier: Apache-2.0
"""One HTTP/2 stream as its user sees it, either side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import attrs
import trio

from mezite.net.http2_limits import Http2Limits
from mezite.net.http2_request import Header

__all__ = [
    "Http2ConnectionLostError",
    "Http2Error",
    "Http2Stream",
    "StreamPort",
    "StreamResetError",
    "WakeSignal",
]

YIELD_AFTER = 64 * 1024
"""Bytes a sender may queue before it lets other tasks run."""
COST_OF_A_CALL = 1024
"""Counted beside the bytes, so that a sender of tiny messages yields too."""


class Http2Error(Exception):
    """Something ended a stream before its time."""


class StreamResetError(Http2Error):
    """RST_STREAM, from either side."""

    def __init__(self, error_code: int, reason: str = "") -> None:
        super().__init__(reason or f"stream reset with HTTP/2 error {error_code}")
        self.error_code = error_code


class Http2ConnectionLostError(Http2Error):
    """The connection is gone. ``unprocessed``: the peer said that it never looked at this stream."""

    def __init__(self, reason: str, *, unprocessed: bool = False) -> None:
        super().__init__(reason)
        self.unprocessed = unprocessed


class WakeSignal:
    """Many setters, one waiter; a set while nobody waits is remembered once."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = trio.Event()


@attrs.frozen(kw_only=True)
class StreamPort:
    """What a stream may ask of its connection."""

    send_headers: Callable[[Http2Stream, list[Header], bool], None]
    """Stream, fields, whether they end our half."""
    has_output: Callable[[Http2Stream], None]
    consumed: Callable[[Http2Stream, int], None]
    reset: Callable[[Http2Stream, int], None]


@attrs.define(eq=False)
class Http2Stream:
    """One stream. One task may send and one may receive at a time.

    After a cancelled ``send_data`` an unknown part of the data is queued: reset the stream then.
    """

    stream_id: int
    limits: Http2Limits = attrs.field(repr=False)
    port: StreamPort = attrs.field(repr=False)
    received_headers: tuple[Header, ...] | None = None
    """The peer's first block: the request on a server, the response on a client."""
    received_trailers: tuple[Header, ...] | None = None
    cancel_scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Server: round the handler; cancelled when the stream is reset or the connection lost."""
    outbound: bytearray = attrs.field(factory=bytearray, init=False, repr=False)
    """Queued by the sender, taken by the connection."""
    trailers: list[Header] | None = attrs.field(default=None, init=False)
    """To be sent once ``outbound`` is empty."""
    local_ended: bool = attrs.field(default=False, init=False)
    """Our half will get no more, though some may still be queued."""
    local_sent: bool = attrs.field(default=False, init=False)
    """The frame that ends our half was made."""
    dropped: bool = attrs.field(default=False, init=False)
    """The connection is done with it."""
    window_debt: int = attrs.field(default=0, init=False)
    """Bytes taken by the user for which the peer has no new window yet."""
    remote_ended: bool = attrs.field(default=False, init=False)
    received_bytes: int = attrs.field(default=0, init=False)
    """Of the body, without padding."""
    failure: Http2Error | None = attrs.field(default=None, init=False)
    _inbound: deque[bytes] = attrs.field(factory=deque, init=False, repr=False)
    _readable: WakeSignal = attrs.field(factory=WakeSignal, init=False)
    _room: WakeSignal = attrs.field(factory=WakeSignal, init=False)
    _headers_arrived: trio.Event = attrs.field(factory=trio.Event, init=False)
    _uncounted: int = attrs.field(default=0, init=False)

    # -- for the user ----------------------------------------------------------------------------

    async def wait_headers(self) -> tuple[Header, ...]:
        """The peer's first block of fields.

        Raises StreamResetError or Http2ConnectionLostError when the stream ended without one.
        """
        await self._headers_arrived.wait()
        if self.received_headers is None:
            raise self._failure()
        return self.received_headers

    async def receive_some(self) -> bytes:
        """Body bytes, all that are here; ``b""`` at the end, after which ``received_trailers`` is final.

        Taking them re-opens the peer's window. Does not yield when there is something at hand, which is at
        most one stream window in a row. Raises StreamResetError or Http2ConnectionLostError when the stream
        ended early.
        """
        while (data := self.receive_nowait()) is None:
            await self._readable.wait()
        return data

    def receive_nowait(self) -> bytes | None:
        """As :meth:`receive_some`; None when there is nothing yet."""
        if not self._inbound:
            if self.remote_ended:
                return b""
            if self.failure is not None:
                raise self._failure()
            return None
        data = self._inbound.popleft() if len(self._inbound) == 1 else b"".join(self._inbound)
        self._inbound.clear()
        self.port.consumed(self, len(data))
        return data

    def send_headers(self, fields: Iterable[Header], *, end_stream: bool = False) -> None:
        """Queue our first block of fields.

        Raises StreamResetError or Http2ConnectionLostError when the stream is over.
        """
        self._check_sendable()
        self.local_ended = end_stream
        self.port.send_headers(self, list(fields), end_stream)

    async def send_data(self, data: bytes) -> None:
        """Queue bytes, waiting while ``send_buffer`` is full; yields once in 64 KiB.

        Raises StreamResetError (also when the peer grants no window for ``stream_stall`` seconds) or
        Http2ConnectionLostError.
        """
        rest = memoryview(data)
        while True:
            self._check_sendable()
            room = self.limits.send_buffer - len(self.outbound)
            if room > 0:
                self.outbound += rest[:room]
                rest = rest[room:]
                self.port.has_output(self)
            if not rest:
                break
            await self._wait_room()
        self._uncounted += len(data) + COST_OF_A_CALL
        if self._uncounted >= YIELD_AFTER:
            self._uncounted = 0
            await trio.lowlevel.checkpoint()

    def end(self, trailers: Iterable[Header] | None = None) -> None:
        """End our half behind what is queued, with trailers or without.

        A server that ends before the request has ended thereby tells the client to stop (RST_STREAM with
        NO_ERROR follows, RFC 9113 section 8.1). Nothing happens when our half has ended already.
        """
        if self.local_ended or self.failure is not None:
            return
        self.local_ended = True
        self.trailers = None if trailers is None else list(trailers)
        self.port.has_output(self)

    def reset(self, error_code: int, reason: str = "") -> None:
        """Give the stream up at once: RST_STREAM, queued data dropped. Nothing when it is over."""
        if self.failure is None:
            self.port.reset(self, error_code)
            self.fail(StreamResetError(error_code, reason))

    @property
    def ended_with_headers(self) -> bool:
        """Whether the peer's first block of fields was all of its half. Ask before receiving."""
        return self.remote_ended and not self._inbound and self.received_trailers is None

    @property
    def receives_data(self) -> bool:
        """Whether the peer may still send data."""
        return not (self.remote_ended or self.dropped)

    # -- for the connection ----------------------------------------------------------------------

    def receive_headers(self, fields: tuple[Header, ...]) -> None:
        """The peer's first block arrived."""
        self.received_headers = fields
        self._headers_arrived.set()

    def receive_data(self, data: bytes) -> None:
        """Body bytes arrived."""
        self.received_bytes += len(data)
        if data and self.failure is None:
            self._inbound.append(data)
            self._readable.set()

    def receive_end(self) -> None:
        """The peer ended its half."""
        self.remote_ended = True
        self._readable.set()

    def note_room(self) -> None:
        """The connection took some of ``outbound``."""
        if len(self.outbound) < self.limits.send_buffer:
            self._room.set()

    def fail(self, failure: Http2Error) -> None:
        """The stream is over. What arrived whole before stays readable."""
        if self.failure is None:
            self.failure = failure
            self.outbound.clear()
            self.trailers = None
            self._readable.set()
            self._room.set()
            self._headers_arrived.set()
            self.cancel_scope.cancel()

    # -- inside ----------------------------------------------------------------------------------

    def _failure(self) -> Http2Error:
        # A fresh copy: one exception object raised in two tasks would mix their tracebacks.
        match self.failure:
            case StreamResetError() as error:
                return StreamResetError(error.error_code, str(error))
            case Http2ConnectionLostError() as error:
                return Http2ConnectionLostError(str(error), unprocessed=error.unprocessed)
            case _:
                return Http2ConnectionLostError("the stream ended without an answer")

    def _check_sendable(self) -> None:
        if self.failure is not None:
            raise self._failure()
        if self.local_ended:
            raise StreamResetError(0, "our half of the stream has ended")

    async def _wait_room(self) -> None:
        with trio.move_on_after(self.limits.stream_stall) as scope:
            await self._room.wait()
        if scope.cancelled_caught:
            self.reset(0x8, "the peer took no data for too long")
