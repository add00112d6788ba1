# SPDX-License-Identifier: Apache-2.0
"""A small HTTP/1.1 client: one request on a stream that is there already."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import h11
import trio

__all__ = ["Http1ClientError", "Response", "request"]

#: Bytes per read.
READ_BYTES = 64 * 1024

#: Largest head of a response: the hub's own are under 2 KiB, cookies and policies of a proxy add some.
MAX_HEAD_BYTES = 32 * 1024


class Http1ClientError(Exception):
    """There is no usable response; the message says why. The stream must be closed."""


@attrs.frozen(kw_only=True)
class Response:
    """A complete response."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    """names in lower case"""
    body: bytes
    keep_alive: bool
    """whether the stream may carry another request"""

    def header(self, name: bytes) -> bytes | None:
        """The first field ``name`` (lower case), or None."""
        return next((value for key, value in self.headers if key == name), None)


async def request(
    stream: trio.abc.Stream,
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    *,
    host: str,
    deadline: float = 30.0,
    max_body: int | None = 4 * 1024 * 1024,
) -> Response:
    """Send a request and return the response; the stream stays open.

    ``target`` is path and query; Host and Content-Length are written here, the other ``headers`` are the
    caller's. ``deadline`` (seconds) covers everything, ``max_body`` (bytes) the response's body;
    with None none of it is read, and the stream is of no further use.

    Raises :exc:`Http1ClientError` when the connection ends, or the response is malformed, ambiguous about its
    length, too large or too late; :exc:`ValueError` for a request that cannot be written. Cancelled, the
    stream is of no further use.
    """
    exchange = _Exchange(stream, max_body)
    with trio.move_on_after(deadline):
        try:
            await exchange.send(method, target, [("host", host), *headers], body)
            return await exchange.receive()
        except h11.LocalProtocolError as error:
            raise ValueError(f"not a valid request: {error}") from error
        except h11.RemoteProtocolError as error:
            raise Http1ClientError(f"the response is malformed: {error}") from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Http1ClientError(f"the connection broke: {error}") from error
    raise Http1ClientError(f"no complete response within {deadline:g} s")


@attrs.define(eq=False)
class _Exchange:
    stream: trio.abc.Stream
    max_body: int | None
    ended: bool = False
    h11: h11.Connection = attrs.Factory(
        lambda: h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
    )

    async def send(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes) -> None:
        if body or method not in ("GET", "HEAD"):
            headers.append(("content-length", str(len(body))))
        data = bytearray(self.h11.send(h11.Request(method=method, target=target, headers=headers)) or b"")
        if body:
            data += self.h11.send(h11.Data(data=body)) or b""
        data += self.h11.send(h11.EndOfMessage()) or b""
        await self.stream.send_all(data)

    async def receive(self) -> Response:
        head = await self._next_event()
        while isinstance(head, h11.InformationalResponse):
            if head.status_code == 101:
                raise Http1ClientError("the server switched to another protocol, which was not asked for")
            head = await self._next_event()
        if not isinstance(head, h11.Response):
            raise Http1ClientError("the connection ended before the response")
        names = [name for name, _ in head.headers]
        if b"transfer-encoding" in names and b"content-length" in names:
            raise Http1ClientError("the response tells its length in two ways")
        if self.max_body is None:
            return Response(status=head.status_code, headers=tuple(head.headers), body=b"", keep_alive=False)
        body = bytearray()
        while not isinstance(event := await self._next_event(), h11.EndOfMessage):
            body += event.data  # type: ignore[attr-defined]  # h11 has no other event here
            if len(body) > self.max_body:
                raise Http1ClientError(f"the response is larger than {self.max_body} bytes")
        both_done = (self.h11.our_state, self.h11.their_state) == (h11.DONE, h11.DONE)
        return Response(
            status=head.status_code,
            headers=tuple(head.headers),
            body=bytes(body),
            keep_alive=both_done and not self.ended and not self.h11.trailing_data[0],
        )

    async def _next_event(self) -> object:
        while (event := self.h11.next_event()) is h11.NEED_DATA:
            data = await self.stream.receive_some(READ_BYTES)
            self.ended = not data
            self.h11.receive_data(bytes(data))
        return event
