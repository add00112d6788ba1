# SPDX-License-Identifier: Apache-2.0
"""A connection to an application's server, and one HTTP/1.1 exchange on it after the other.

Heads are written here from values, never passed on as bytes; responses are read by the strict reader
(``core/http1/response_reader.py``). Whether the connection may serve another request is decided by what was read, and
any doubt ends it (threats D1, D10).
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from mezite.core.errors import RemoteProtocolError
from mezite.core.http1.response_reader import ResponseEvent, ResponseReader
from mezite.core.http1.upstream_fields import Field
from mezite.core.mux.events import NeedData

from .byte_streams import PromptStream

__all__ = ["UpstreamConnection", "UpstreamError", "is_readable"]

READ_BYTES = 256 * 1024
"""Per read; the front writes as much with one deadline after the other."""


class UpstreamError(Exception):
    """There is no complete response; the message says why. The connection must be closed."""


@attrs.define(eq=False, kw_only=True)
class UpstreamConnection:
    """One stream to an application."""

    stream: trio.abc.Stream
    agent: str
    """the node whose agent has dialled"""
    exchanges: int = 0
    """requests that were begun on it"""
    idle_since: float = 0.0
    """``trio.current_time()`` when its last response ended"""
    reader: ResponseReader = attrs.field(factory=lambda: ResponseReader(b"GET"), init=False)
    """of the response that is awaited"""
    _outlet: PromptStream | None = attrs.field(init=False)
    _chunked: bool = attrs.field(default=False, init=False)
    """how the body of the request is told"""

    def __attrs_post_init__(self) -> None:
        """Find out once how to send."""
        self._outlet = self.stream if isinstance(self.stream, PromptStream) else None

    @property
    def may_be_kept(self) -> bool:
        """Whether the connection may carry another request, as far as the response tells."""
        return self.reader.may_be_kept

    @property
    def is_untouched(self) -> bool:
        """Whether not a byte has come in answer to this request."""
        return self.reader.is_untouched

    @property
    def was_refused(self) -> bool:
        """Whether the application has said that it did nothing about this request; HTTP/1.1 has no words for that."""
        return False

    @property
    def wants_http1(self) -> bool:
        """Whether it has asked for this request in HTTP/1.1."""
        return False

    async def begin(
        self, method: bytes, target: bytes, fields: Sequence[Field], *, upgrade: bool = False
    ) -> None:
        """Send the head of a request. Raises :exc:`UpstreamError`."""
        self.exchanges += 1
        self.reader = ResponseReader(method, upgrade=upgrade)
        self._chunked = any(name.lower() == b"transfer-encoding" for name, _ in fields)
        lines = [b"%b %b HTTP/1.1" % (method, target), *(b"%b: %b" % field for field in fields), b"", b""]
        await self._send(b"\r\n".join(lines))

    async def send_body(self, data: bytes, *, more: bool) -> None:
        """Send a piece of the body, framed as the head says. Raises :exc:`UpstreamError`."""
        if self._chunked:
            framed = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            data = framed if more else framed + b"0\r\n\r\n"
        if data:
            await self._send(data)

    async def _send(self, data: bytes) -> None:
        try:
            if self._outlet is None:
                await self.stream.send_all(data)
            else:
                await self._outlet.send_promptly(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise UpstreamError(f"the connection to the application broke: {error}") from error

    def poll_event(self) -> ResponseEvent | NeedData:
        """Return what has arrived already. Raises :exc:`UpstreamError`."""
        try:
            return self.reader.next_event()
        except RemoteProtocolError as error:
            raise UpstreamError(str(error)) from error

    async def next_event(self) -> ResponseEvent:
        """Return what the application says next. Raises :exc:`UpstreamError`."""
        while isinstance(event := self.poll_event(), NeedData):
            try:
                data = await self.stream.receive_some(READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise UpstreamError(f"the connection to the application broke: {error}") from error
            if data:
                self.reader.receive_data(data)
            else:
                self.reader.receive_eof()
        return event


def is_readable(stream: trio.abc.Stream) -> bool:
    """Whether a channel below ``stream`` has something to say although nothing was asked: mostly, that it has ended."""
    inner: object = stream
    while inner is not None:
        readable = getattr(inner, "is_readable", None)
        if readable is not None:
            return bool(readable)
        inner = getattr(inner, "stream", None) or getattr(inner, "transport", None)
    return False
