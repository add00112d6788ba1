# SPDX-License-Identifier: Apache-2.0
"""The response of an application, read strictly (RFC 9112, threats D1, D2, D10).

The connection it comes on serves other users next. So whatever leaves a doubt about where the response ends is an
error here, after which the connection must not be used again: two lengths, a repeated length, a coding that is not
exactly ``chunked``, a chunk whose end is not where it was said, a switch of protocols that nobody asked for, bytes
behind the end. Line ends are exact. What is read is written anew for the browser; no byte of a head or of a chunk's
frame is passed on.
"""

import enum
import re
from typing import Final

import attrs

from mezite.core.errors import RemoteProtocolError
from mezite.core.mux.events import NEED_DATA, NeedData

from .client_fields import connection_tokens
from .request_head import CONTENT_LENGTH, HEAD_END, Fields, RequestHeadReader, parse_fields

__all__ = ["NEED_DATA", "ResponseBody", "ResponseEnd", "ResponseEvent", "ResponseHead", "ResponseReader"]

MAX_RESPONSE_HEAD: Final = 64 * 1024
"""Status line and fields: some applications set dozens of cookies of 4 KiB, and policies of 8."""

MAX_INTERIM: Final = 16
"""Responses 1xx before the one that counts; a few 103 are usual."""

MAX_CHUNK_LINE: Final = 1024
"""The size of a chunk, and extensions that nobody reads."""

MAX_TRAILER_BYTES: Final = 16 * 1024
"""Trailers are dropped; so much of them is looked at for their end."""

STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t -~\x80-\xff]*)?")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t -~\x80-\xff]*)?")
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


class _State(enum.Enum):
    HEAD = enum.auto()
    COUNTED = enum.auto()
    CHUNK_LINE = enum.auto()
    CHUNK = enum.auto()
    CHUNK_END = enum.auto()
    TRAILER = enum.auto()
    UNTIL_EOF = enum.auto()
    DONE = enum.auto()


class ResponseReader:
    """Reads one response to a request with `method`; `upgrade` says whether 101 is an answer to it."""

    def __init__(self, method: bytes, *, upgrade: bool = False) -> None:
        self._method = method
        self._upgrade = upgrade
        self._state = _State.HEAD
        self._heads = RequestHeadReader(MAX_RESPONSE_HEAD)
        self._buffer = bytearray()
        self._left = 0
        self._interim = 0
        self._trailer_bytes = 0
        self._keep = False
        self._eof = False
        self.is_untouched = True
        """Not a byte has come."""

    @property
    def may_be_kept(self) -> bool:
        """Whether the connection may carry another request: the response is complete, and nothing is behind it."""
        return self._keep and self._state is _State.DONE and not self._eof and not self._buffer

    def receive_data(self, data: bytes | bytearray) -> None:
        """Bytes from the application."""
        self.is_untouched = False
        if self._state is _State.HEAD:
            self._heads.receive_data(data)
        else:
            self._buffer += data

    def receive_eof(self) -> None:
        """The application has ended the connection."""
        self._eof = True

    def take_rest(self) -> bytes:
        """What came behind a 101: the beginning of what is spoken now."""
        return self._take(len(self._buffer))

    def next_event(self) -> ResponseEvent | NeedData:
        """The next event; NEED_DATA when the application has to say more; ResponseEnd repeats.

        Raises :exc:`RemoteProtocolError` for what no response is, or for an end in the middle of one.
        """
        event = self._next()
        if event is NEED_DATA and self._eof:
            if self._state is _State.UNTIL_EOF:
                self._state = _State.DONE
                return END
            part = "before its response" if self.is_untouched else "in the middle of its response"
            raise RemoteProtocolError(f"the application ended the connection {part}")
        return event

    def _next(self) -> ResponseEvent | NeedData:
        match self._state:
            case _State.HEAD:
                return self._next_head()
            case _State.COUNTED | _State.UNTIL_EOF:
                return self._next_piece()
            case _State.DONE:
                return END
            case _:
                return self._next_of_chunks()

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
        self._buffer += self._heads.take_rest()
        tokens = connection_tokens(fields)
        self._keep = minor_version == b"1" and b"close" not in tokens
        length = self._begin_body(status, fields, minor_version)
        return ResponseHead(status=status, fields=fields, content_length=length)

    def _interim_head(self, status: int, fields: Fields) -> ResponseHead:
        self._interim += 1
        if self._interim > MAX_INTERIM:
            raise RemoteProtocolError(f"it sent more than {MAX_INTERIM} interim responses")
        return ResponseHead(status=status, fields=fields, content_length=0)

    def _begin_body(self, status: int, fields: Fields, minor_version: bytes) -> int | None:
        """RFC 9112 section 6.3, every doubt an error; returns how long the body is."""
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
            self._keep, self._state = False, _State.DONE
            return 0
        if self._method == b"HEAD" or status in (204, 304):
            self._state = _State.DONE
            return 0
        if codings:
            self._state = _State.CHUNK_LINE
            return None
        if not lengths:
            self._keep, self._state = False, _State.UNTIL_EOF
            return None
        self._left = int(lengths[0])
        self._state = _State.COUNTED if self._left else _State.DONE
        return self._left

    # -- the body

    def _next_piece(self) -> ResponseEvent | NeedData:
        if not self._buffer:
            return NEED_DATA
        if self._state is _State.UNTIL_EOF:
            return ResponseBody(self._take(len(self._buffer)))
        piece = self._take(self._left)
        self._left -= len(piece)
        if not self._left:
            self._state = _State.DONE if self._state is _State.COUNTED else _State.CHUNK_END
        return ResponseBody(piece)

    def _next_of_chunks(self) -> ResponseEvent | NeedData:
        while True:
            if self._state is _State.CHUNK:
                return self._next_piece()
            if self._state is _State.CHUNK_END:
                line = self._line(0)
                if line is None:
                    return NEED_DATA
                self._state = _State.CHUNK_LINE
            elif self._state is _State.CHUNK_LINE:
                line = self._line(MAX_CHUNK_LINE)
                if line is None:
                    return NEED_DATA
                self._begin_chunk(line)
            else:
                return self._skip_trailers()

    def _begin_chunk(self, line: bytes) -> None:
        matched = CHUNK_LINE.fullmatch(line)
        if matched is None:
            raise RemoteProtocolError("the size of a chunk is not a hexadecimal number")
        self._left = int(matched[1], 16)
        self._state = _State.CHUNK if self._left else _State.TRAILER

    def _skip_trailers(self) -> ResponseEvent | NeedData:
        """They are dropped: an application could say in them what it may not say in the head (threat D5)."""
        while True:
            line = self._line(MAX_TRAILER_BYTES)
            if line is None:
                return NEED_DATA
            if not line:
                self._state = _State.DONE
                return END
            self._trailer_bytes += len(line)
            if self._trailer_bytes > MAX_TRAILER_BYTES:
                raise RemoteProtocolError(f"its trailers are longer than {MAX_TRAILER_BYTES} bytes")

    def _line(self, longest: int) -> bytes | None:
        """A line without its end; None while it is not complete."""
        end = self._buffer.find(b"\n", 0, longest + len(LINE_END))
        if end < 0:
            if len(self._buffer) >= longest + len(LINE_END):
                raise RemoteProtocolError(f"a line of its chunks is longer than {longest} bytes")
            return None
        line = self._take(end + 1)
        if not line.endswith(LINE_END) or b"\r" in line[: -len(LINE_END)]:
            raise RemoteProtocolError("a line of its chunks does not end in CR LF")
        return line[: -len(LINE_END)]

    def _take(self, size: int) -> bytes:
        with memoryview(self._buffer) as view:
            taken = bytes(view[:size])
        del self._buffer[: len(taken)]
        return taken
