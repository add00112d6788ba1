# SPDX-License-Identifier: Apache-2.0
"""A connection to an application that speaks HTTP/2 in the clear from its first byte (``h2c://``).

One request at a time, as on a connection of HTTP/1.1: what runs beside it takes another one, so no slow reader stops
others. There are no WebSockets on it (RFC 8441 is not spoken), and trailers are dropped as everywhere (threat D5).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from mezite.core.http1.request_head import FIELD_NAME, FIELD_VALUE, Fields
from mezite.core.http1.response_reader import ResponseBody, ResponseEnd, ResponseEvent, ResponseHead
from mezite.core.http1.upstream_fields import Field
from mezite.core.mux.events import NEED_DATA, NeedData

from .app_upstream import UpstreamConnection, UpstreamError
from .http2_client import Http2ClientConnection
from .http2_stream import Http2Error, Http2Stream

__all__ = ["Http2Upstream"]

STATUS = re.compile(rb"[2-5][0-9]{2}")

ABOUT_THE_CONNECTION = frozenset({b"connection", b"expect", b"host", b"transfer-encoding", b"upgrade"})
"""What HTTP/2 says otherwise or not at all (RFC 9113 section 8.2.2). Nobody waits for 100 Continue here."""


@attrs.define(eq=False, kw_only=True)
class Http2Upstream(UpstreamConnection):
    """An HTTP/2 connection as the proxy uses any other; ``client.run`` must be running."""

    client: Http2ClientConnection
    _stream: Http2Stream | None = attrs.field(default=None, init=False)
    _method: bytes = attrs.field(default=b"", init=False)
    _head: ResponseHead | None = attrs.field(default=None, init=False)
    _told: bool = attrs.field(default=False, init=False)
    """the head was given out"""
    _ended: bool = attrs.field(default=False, init=False)

    @property
    def may_be_kept(self) -> bool:
        """Whether the last response is complete and the server takes more."""
        return self._ended and self.client.is_usable

    @property
    def is_untouched(self) -> bool:
        """Whether nothing has come in answer to this request."""
        return self._head is None and (self._stream is None or self._stream.received_headers is None)

    async def begin(
        self, method: bytes, target: bytes, fields: Sequence[Field], *, upgrade: bool = False
    ) -> None:
        """Send the head of a request. Raises :exc:`UpstreamError`, and for a WebSocket always."""
        if upgrade:
            raise UpstreamError(
                "it speaks HTTP/2 (h2c://), in which there are no WebSockets here: use http://"
            )
        self.exchanges += 1
        self._head, self._told, self._ended, self._stream, self._method = None, False, False, None, method
        host = next(value for name, value in fields if name.lower() == b"host")
        names = [name.lower() for name, _ in fields]
        has_body = b"transfer-encoding" in names or b"content-length" in names
        block = [
            (b":method", method),
            (b":scheme", b"http"),
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
        if self._head is None:
            return NEED_DATA
        if not self._told:
            self._told = True
            return self._head
        try:
            data = stream.receive_nowait()
        except Http2Error as error:
            raise UpstreamError(f"it ended its response early: {error}") from error
        if data is None:
            return NEED_DATA
        self._ended = not data
        return ResponseBody(data) if data else ResponseEnd()

    async def next_event(self) -> ResponseEvent:
        """Return what the application says next. Raises :exc:`UpstreamError`."""
        stream = self._open_stream()
        while isinstance(event := self.poll_event(), NeedData):
            try:
                if self._head is None:
                    self._head = response_head(await stream.wait_headers())
                else:
                    data = await stream.receive_some()
                    self._ended = not data
                    return ResponseBody(data) if data else ResponseEnd()
            except Http2Error as error:
                raise UpstreamError(f"it ended its response early: {error}") from error
        return event

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
    if len([name for name, _ in fields if name == b"content-length"]) > 1:
        raise UpstreamError("it tells its length twice")
    return ResponseHead(status=int(statuses[0]), fields=fields, content_length=None)
