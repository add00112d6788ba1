# SPDX-License-Identifier: Apache-2.0
"""A connection to an application that speaks HTTP/2: in the clear from its first byte (``h2c://``), or chosen in TLS.

One request at a time, as on a connection of HTTP/1.1: what runs beside it takes another one, so no slow reader stops
others. There are no WebSockets on it (RFC 8441 is not spoken), and trailers are dropped as everywhere (threat D5).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import attrs
import trio
from h2.errors import ErrorCodes

from mezite.core.http1.request_head import FIELD_NAME, FIELD_VALUE, Fields
from mezite.core.http1.response_reader import ResponseBody, ResponseEnd, ResponseEvent, ResponseHead
from mezite.core.http1.upstream_fields import Field
from mezite.core.mux.events import NEED_DATA, NeedData

from .app_upstream import UpstreamConnection, UpstreamError
from .http2_client import DEFAULT_CLIENT_LIMITS, Http2ClientConnection
from .http2_stream import Http2ConnectionLostError, Http2Error, Http2Stream, StreamResetError

__all__ = ["Http2Upstream", "open_http2"]

STATUS = re.compile(rb"[2-5][0-9]{2}")

LENGTH = re.compile(rb"[0-9]{1,18}")
"""Any file's, and less than what numbers of 64 bits hold."""

ABOUT_THE_CONNECTION = frozenset({b"connection", b"expect", b"host", b"transfer-encoding", b"upgrade"})
"""What HTTP/2 says otherwise or not at all (RFC 9113 section 8.2.2). Nobody waits for 100 Continue here."""

MAX_EXCHANGES = 1000
"""Requests on one connection, as nginx has it: h2 remembers every stream that was closed (threat P22)."""

BODYLESS = frozenset({204, 304})
"""RFC 9110 sections 15.3.5 and 15.4.5: they end with their head, whatever length that tells."""

LIMITS = attrs.evolve(
    DEFAULT_CLIENT_LIMITS,
    max_header_bytes=64 * 1024,  # as of HTTP/1.1 (core/http1/response_reader.py)
    # One request at a time may fill the connection: 20 MB/s at a round trip of 50 ms. A slow reader costs no more.
    stream_window=1024 * 1024,
    # How long an application may take over an upload is what the exchange knows.
    write_stall=math.inf,
    stream_stall=math.inf,
)


@attrs.define(eq=False, kw_only=True)
class Http2Upstream(UpstreamConnection):
    """An HTTP/2 connection as the proxy uses any other; ``client.run`` must be running (:func:`open_http2`)."""

    client: Http2ClientConnection
    scheme: bytes = b"http"
    _stream: Http2Stream | None = attrs.field(default=None, init=False)
    _method: bytes = attrs.field(default=b"", init=False)
    _head: ResponseHead | None = attrs.field(default=None, init=False)
    _told: bool = attrs.field(default=False, init=False)
    """the head was given out"""
    _ended: bool = attrs.field(default=False, init=False)
    _owes_continue: bool = attrs.field(default=False, init=False)
    """the client waits to be told that its body is wanted"""

    @property
    def may_be_kept(self) -> bool:
        """Whether the last response is complete and the server takes more."""
        return self._ended and self.client.is_usable and self.exchanges < MAX_EXCHANGES

    @property
    def is_untouched(self) -> bool:
        """Whether nothing has come in answer to this request."""
        return self._head is None and (self._stream is None or self._stream.received_headers is None)

    @property
    def was_refused(self) -> bool:
        """Whether the application has said that it did nothing about this request (RFC 9113 section 8.7)."""
        match None if self._stream is None or self._head is not None else self._stream.failure:
            case StreamResetError(error_code=ErrorCodes.REFUSED_STREAM | ErrorCodes.HTTP_1_1_REQUIRED):
                return True
            case Http2ConnectionLostError(unprocessed=True):
                return True
        return False

    @property
    def wants_http1(self) -> bool:
        """Whether it has asked for this request in HTTP/1.1, as IIS does for some of its logins."""
        failure = None if self._stream is None else self._stream.failure
        return isinstance(failure, StreamResetError) and failure.error_code == ErrorCodes.HTTP_1_1_REQUIRED

    async def begin(
        self, method: bytes, target: bytes, fields: Sequence[Field], *, upgrade: bool = False
    ) -> None:
        """Send the head of a request. Raises :exc:`UpstreamError`, and for a WebSocket always."""
        if upgrade:
            raise UpstreamError(
                "it speaks HTTP/2 (h2c://), in which there are no WebSockets here: use http:// or https://"
            )
        self.exchanges += 1
        self._head, self._told, self._ended, self._stream, self._method = None, False, False, None, method
        host = next(value for name, value in fields if name.lower() == b"host")
        names = [name.lower() for name, _ in fields]
        # As the proxy counts: a body of no bytes is none, and nobody would say that it has ended.
        has_body = b"transfer-encoding" in names or any(
            name.lower() == b"content-length" and int(value) > 0 for name, value in fields
        )
        self._owes_continue = b"expect" in names
        block = [
            (b":method", method),
            (b":scheme", self.scheme),
            (b":authority", host),
            (b":path", target),
            *((name.lower(), value) for name, value in fields if name.lower() not in ABOUT_THE_CONNECTION),
        ]
        try:
            self._stream = await self.client.open_stream(block, end_stream=not has_body)
        except Http2Error as error:
            raise UpstreamError(f"the connection to the application broke: {error}") from error

    async def send_body(self, data: bytes, *, more: bool) -> None:
        """Send a piece of the body. Raises :exc:`UpstreamError`."""
        stream = self._open_stream()
        try:
            if data:
                await stream.send_data(data)
            if not more:
                stream.end()
        except Http2Error as error:
            raise UpstreamError(f"it takes no more of the request: {error}") from error

    def poll_event(self) -> ResponseEvent | NeedData:
        """Return what has arrived already. Raises :exc:`UpstreamError`."""
        stream = self._open_stream()
        if self._owes_continue:
            # Its windows say how much of a body the server takes, so the hub may ask for it at once.
            self._owes_continue = False
            return ResponseHead(status=100, fields=(), content_length=None)
        if self._head is None:
            return NEED_DATA
        if not self._told:
            self._told = True
            return self._head
        try:
            data = stream.receive_nowait()
        except Http2Error as error:
            raise UpstreamError(f"it ended its response early: {error}") from error
        return NEED_DATA if data is None else self._body_event(data)

    async def next_event(self) -> ResponseEvent:
        """Return what the application says next. Raises :exc:`UpstreamError`."""
        stream = self._open_stream()
        while isinstance(event := self.poll_event(), NeedData):
            try:
                if self._head is None:
                    self._head = response_head(await stream.wait_headers())
                else:
                    return self._body_event(await stream.receive_some())
            except Http2Error as error:
                raise UpstreamError(f"it ended its response early: {error}") from error
        return event

    def _body_event(self, data: bytes) -> ResponseEvent:
        """Raises :exc:`UpstreamError` for a body that is not as long as was told: in HTTP/1.1 that is another response.

        h2 compares lengths with DATA only, and a response can end in other ways.
        """
        head, stream = self._head, self._open_stream()
        if head is None:
            raise AssertionError("a response begins with its head")
        bodyless = self._method == b"HEAD" or head.status in BODYLESS
        if bodyless and data:
            raise UpstreamError("it sent a body where none may be")
        if data:
            return ResponseBody(data)
        if not bodyless and head.content_length not in (None, stream.received_bytes):
            raise UpstreamError("the body of its response is not as long as it told")
        self._ended = True
        return ResponseEnd()

    def _open_stream(self) -> Http2Stream:
        if self._stream is None:
            raise AssertionError("begin() comes first")
        return self._stream


def response_head(block: Sequence[Field]) -> ResponseHead:
    """Read the fields of a response as strictly as those of HTTP/1.1: they are written into one (threat D3)."""
    statuses = [value for name, value in block if name == b":status"]
    fields: Fields = tuple((name, value) for name, value in block if not name.startswith(b":"))
    if len(statuses) != 1 or STATUS.fullmatch(statuses[0]) is None:
        raise UpstreamError("its response has no status")
    for name, value in fields:
        if FIELD_NAME.fullmatch(name) is None or FIELD_VALUE.fullmatch(value) is None:
            raise UpstreamError("a field of its response has characters that no field has")
    lengths = [value for name, value in fields if name == b"content-length"]
    if len(lengths) > 1:
        raise UpstreamError("it tells its length twice")
    if lengths and LENGTH.fullmatch(lengths[0]) is None:
        raise UpstreamError("the length that it tells is no number")
    length = int(lengths[0]) if lengths else None
    return ResponseHead(status=int(statuses[0]), fields=fields, content_length=length)


async def open_http2(
    stream: trio.abc.Stream, agent: str, nursery: trio.Nursery, *, scheme: bytes
) -> Http2Upstream:
    """Speak HTTP/2 on ``stream``, driven by a task in ``nursery`` until the stream is closed."""
    client = Http2ClientConnection(stream, LIMITS)
    await nursery.start(client.run)
    return Http2Upstream(stream=stream, agent=agent, client=client, scheme=scheme)
