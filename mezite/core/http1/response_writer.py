# SPDX-License-Identifier: Apache-2.0
"""One response of a server as bytes (RFC 9112 sections 4, 6 and 7).

What an application says is checked, not repaired: a field that would end before its end is a header of its own to the
client (response splitting), and a body of another length than was said leaves the client with half of it, or with the
beginning of the next response.
"""

import re
from collections.abc import Sequence
from typing import Final

from mezite.core.errors import LocalProtocolError

from .request_head import CONTENT_LENGTH

__all__ = ["ResponseWriter"]

NO_BODY: Final = frozenset({204, 304})
"""Statuses that have none, whatever was asked (RFC 9110 sections 15.3.5 and 15.4.5)."""

LINES = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t -~\x80-\xff]*\r\n)*")


class ResponseWriter:
    """Writes the response to a request with `method` from a client of HTTP/1.`minor_version`.

    Each method returns the bytes to send, and raises :exc:`LocalProtocolError` for what no response is.
    """

    def __init__(self, method: bytes, minor_version: int) -> None:
        self._method = method
        self._minor_version = minor_version
        self._begun = False
        self._chunked = False
        self._left: int | None = None

    def begin(self, status: int, fields: Sequence[tuple[bytes, bytes]], reason: str) -> bytes:
        """Status and fields. Without a Content-Length the body is chunked, or for HTTP/1.0 ends with the connection."""
        if self._begun or not 200 <= status <= 599:
            raise LocalProtocolError(f"{status} is no status of a final response, or there was one already")
        lengths = [value for name, value in fields if name.lower() == b"content-length"]
        codings = [name for name, _ in fields if name.lower() == b"transfer-encoding"]
        if codings or len(lengths) > 1 or not all(map(CONTENT_LENGTH.fullmatch, lengths)):
            raise LocalProtocolError("the length of a body is told by one Content-Length, or by the hub")
        chunked = not lengths and self._minor_version == 1 and status not in NO_BODY
        block = b"".join([b"%b: %b\r\n" % field for field in fields])
        if LINES.fullmatch(block) is None or block.count(b"\r\n") != len(fields):
            raise LocalProtocolError("a field of the response is not: name, visible characters")
        self._begun = True
        if self._method == b"HEAD" or status in NO_BODY:
            self._left = 0
        elif lengths:
            self._left = int(lengths[0])
        else:
            self._chunked = chunked
        coding = b"transfer-encoding: chunked\r\n" if chunked else b""
        return b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (status, reason.encode("ascii"), block, coding)

    def data(self, data: bytes) -> bytes:
        """A piece of the body."""
        if not self._begun:
            raise LocalProtocolError("a body without a head")
        if self._chunked:
            return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        if self._left is not None:
            if len(data) > self._left:
                raise LocalProtocolError("the body is longer than its Content-Length")
            self._left -= len(data)
        return data

    def end(self) -> bytes:
        """The end of the body."""
        if self._left:
            raise LocalProtocolError(f"{self._left} bytes of the body are missing")
        return b"0\r\n\r\n" if self._chunked else b""
