# SPDX-License-Identifier: Apache-2.0
"""The response of an application, read strictly (RFC 9112, threats D1, D2, D10).

The connection it comes on serves other users next. So whatever leaves a doubt about where the response ends is an
error here, after which the connection must not be used again: two lengths, a repeated length, a coding that is not
exactly ``chunked``, a chunk whose end is not where it was said, a switch of protocols that nobody asked for, bytes
behind the end. Line ends are exact. What is read is written anew for the browser; no byte of a head or of a chunk's
frame is passed on.
"""

import re
from typing import Final

import attrs

from mezite.core.errors import RemoteProtocolError
from mezite.core.mux.events import NEED_DATA, NeedData

from .body_reader import BodyReader
from .client_fields import connection_tokens
from .request_head import CONTENT_LENGTH, HEAD_END, Fields, RequestHeadReader, parse_fields

__all__ = ["NEED_DATA", "ResponseBody", "ResponseEnd", "ResponseEvent", "ResponseHead", "ResponseReader"]

MAX_RESPONSE_HEAD: Final = 64 * 1024
"""Status line and fields: some applications set dozens of cookies of 4 KiB, and policies of 8."""

MAX_INTERIM: Final = 16
"""Responses 1xx before the one that counts; a few 103 are usual."""

STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t -~\x80-\xff]*)?")
LINE_END = b"\r\n"


@attrs.frozen(kw_only=True)
class ResponseHead:
    """A status and its fields. Below 200 another head follows, except after 101."""

    status: int
    fields: Fields
    """names in lower case, in the order sent"""
    content_length: int | None
    """bytes of the body that follow; None when only its end will tell"""


@attrs.frozen
class ResponseBody:
    """A piece of the body, as the application encoded it."""

    data: bytes


@attrs.frozen
class ResponseEnd:
    """The response is complete. Repeats."""


ResponseEvent = ResponseHead | ResponseBody | ResponseEnd

END: Final = ResponseEnd()


class ResponseReader:
    """Reads one response to a request with `method`; `upgrade` says whether 101 is an answer to it."""

    def __init__(self, method: bytes, *, upgrade: bool = False) -> None:
        self._method = method
        self._upgrade = upgrade
        self._heads = RequestHeadReader(MAX_RESPONSE_HEAD)
        self._body: BodyReader | None = None
        """None while the head is read."""
        self._interim = 0
        self._keep = False
        self._eof = False
        self.is_untouched = True
        """Not a byte has come."""

    @property
    def may_be_kept(self) -> bool:
        """Whether the connection may carry another request: the response is complete, and nothing is behind it."""
        body = self._body
        complete = body is not None and body.is_complete and not body.has_more
        return self._keep and complete and not self._eof

    def receive_data(self, data: bytes | bytearray) -> None:
        """Bytes from the application."""
        self.is_untouched = False
        if self._body is None:
            self._heads.receive_data(data)
        else:
            self._body.receive_data(data)

    def receive_eof(self) -> None:
        """The application has ended the connection."""
        self._eof = True
        if self._body is not None:
            self._body.receive_eof()

    def take_rest(self) -> bytes:
        """What came behind a 101: the beginning of what is spoken now."""
        return self._heads.take_rest() if self._body is None else self._body.take_rest()

    def next_event(self) -> ResponseEvent | NeedData:
        """The next event; NEED_DATA when the application has to say more; ResponseEnd repeats.

        Raises :exc:`RemoteProtocolError` for what no response is, or for an end in the middle of one.
        """
        event = self._next_head() if self._body is None else self._next_of(self._body)
        if event is NEED_DATA and self._eof:
            part = "before its response" if self.is_untouched else "in the middle of its response"
            raise RemoteProtocolError(f"the application ended the connection {part}")
        return event

    @staticmethod
    def _next_of(body: BodyReader) -> ResponseEvent | NeedData:
        piece = body.next_piece()
        if isinstance(piece, NeedData):
            return piece
        return ResponseBody(piece) if piece else END

    # -- the head

    def _next_head(self) -> ResponseEvent | NeedData:
        raw = self._heads.next_head()
        if raw is None:
            return NEED_DATA
        status_line, *lines = raw[: -len(HEAD_END)].split(LINE_END)
        matched = STATUS_LINE.fullmatch(status_line)
        if matched is None:
            raise RemoteProtocolError("its first line is not: HTTP/1.1, status, reason")
        minor_version, status = matched[1], int(matched[2])
        fields = parse_fields(lines)
        if 100 <= status < 200 and status != 101:
            return self._interim_head(status, fields)
        length, chunked = self._framing(status, fields, minor_version)
        tokens = connection_tokens(fields)
        lasts = length is not None or chunked
        self._keep = lasts and status != 101 and minor_version == b"1" and b"close" not in tokens
        self._body = BodyReader(length=length, chunked=chunked)
        self._body.receive_data(self._heads.take_rest())
        if self._eof:
            self._body.receive_eof()
        return ResponseHead(status=status, fields=fields, content_length=length)

    def _interim_head(self, status: int, fields: Fields) -> ResponseHead:
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise RemoteProtocolError(f"it sent more than {MAX_INTERIM} interim responses")
        return ResponseHead(status=status, fields=fields, content_length=0)

    def _framing(self, status: int, fields: Fields, minor_version: bytes) -> tuple[int | None, bool]:
        """RFC 9112 section 6.3, every doubt an error; returns how long the body is, and whether it is chunked."""
        lengths = [value for name, value in fields if name == b"content-length"]
        codings = [value for name, value in fields if name == b"transfer-encoding"]
        if len(lengths) > 1 or len(codings) > 1 or (lengths and codings):
            raise RemoteProtocolError("it tells its length twice")
        if lengths and CONTENT_LENGTH.fullmatch(lengths[0]) is None:
            raise RemoteProtocolError("its content-length is not a decimal number")
        if codings and (codings[0].lower() != b"chunked" or minor_version == b"0"):
            raise RemoteProtocolError("its transfer-encoding is not chunked, or its version is 1.0")
        if status == 101:
            if not self._upgrade or lengths or codings:
                raise RemoteProtocolError("it switched protocols without being asked, or with a length")
            return 0, False
        if self._method == b"HEAD" or status in (204, 304):
            return 0, False
        return (int(lengths[0]) if lengths else None), bool(codings)
