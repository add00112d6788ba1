# SPDX-License-Identifier: Apache-2.0
"""The body of a message, read strictly (RFC 9112 section 7, threats D1, D2, D5).

How it is told where it ends was decided by whoever read the head. Here a chunk whose size is not a hexadecimal number,
whose end is not where it was said, or whose lines end in anything but CR LF is an error: two readers might disagree
about what follows. Extensions of chunks are not looked at, and trailers are dropped: in them a peer could say what it
may not say in the head.
"""

import enum
import re
from typing import Final

from mezite.core.errors import RemoteProtocolError
from mezite.core.mux.events import NEED_DATA, NeedData

__all__ = ["MAX_CHUNK_LINE", "MAX_TRAILER_BYTES", "NEED_DATA", "BodyReader"]

MAX_CHUNK_LINE: Final = 1024
"""The size of a chunk, and extensions that nobody reads."""

MAX_TRAILER_BYTES: Final = 16 * 1024
"""Trailers are dropped; so much of them is looked at for their end."""

CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t -~\x80-\xff]*)?")
LINE_END = b"\r\n"


class _State(enum.Enum):
    COUNTED = enum.auto()
    CHUNK_LINE = enum.auto()
    CHUNK = enum.auto()
    CHUNK_END = enum.auto()
    TRAILER = enum.auto()
    UNTIL_EOF = enum.auto()
    DONE = enum.auto()


class BodyReader:
    """Reads one body: of `length` bytes, `chunked`, or with neither until the end of the connection."""

    def __init__(self, *, length: int | None = None, chunked: bool = False) -> None:
        self._buffer = bytearray()
        self._left = length or 0
        self._trailer_bytes = 0
        if chunked:
            self._state = _State.CHUNK_LINE
        elif length is None:
            self._state = _State.UNTIL_EOF
        else:
            self._state = _State.COUNTED if length else _State.DONE

    @property
    def is_complete(self) -> bool:
        """Whether all of it was read."""
        return self._state is _State.DONE

    @property
    def has_more(self) -> bool:
        """Whether bytes wait here: of the body, or what came behind it."""
        return bool(self._buffer)

    def receive_data(self, data: bytes | bytearray) -> None:
        """Bytes from the peer, of this body and of what follows it."""
        self._buffer += data

    def receive_eof(self) -> None:
        """Nothing follows; only a body that is told by that is complete now, as soon as it was read."""
        if self._state is _State.UNTIL_EOF:
            self._left = len(self._buffer)
            self._state = _State.COUNTED if self._left else _State.DONE

    def take_rest(self) -> bytes:
        """What came behind the body, once it is complete."""
        return self._take(len(self._buffer))

    def next_piece(self) -> bytes | NeedData:
        """What has come of the body; NEED_DATA when the peer has to say more; empty at the end, which repeats.

        Raises :exc:`RemoteProtocolError` (400) for chunks that are none.
        """
        while True:
            match self._state:
                case _State.DONE:
                    return b""
                case _State.COUNTED | _State.CHUNK | _State.UNTIL_EOF:
                    return self._next_bytes()
                case _:
                    if not self._read_line():
                        return NEED_DATA

    def _next_bytes(self) -> bytes | NeedData:
        if not self._buffer:
            return NEED_DATA
        if self._state is _State.UNTIL_EOF:
            return self._take(len(self._buffer))
        piece = self._take(self._left)
        self._left -= len(piece)
        if not self._left:
            self._state = _State.DONE if self._state is _State.COUNTED else _State.CHUNK_END
        return piece

    def _read_line(self) -> bool:
        """Read a line between chunks; False while it is not complete."""
        limits = {_State.CHUNK_LINE: MAX_CHUNK_LINE, _State.CHUNK_END: 0, _State.TRAILER: MAX_TRAILER_BYTES}
        line = self._line(limits[self._state])
        if line is None:
            return False
        if self._state is _State.CHUNK_END:
            self._state = _State.CHUNK_LINE
        elif self._state is _State.CHUNK_LINE:
            self._begin_chunk(line)
        else:
            self._skip_trailer(line)
        return True

    def _begin_chunk(self, line: bytes) -> None:
        matched = CHUNK_LINE.fullmatch(line)
        if matched is None:
            raise RemoteProtocolError("the size of a chunk is not a hexadecimal number", 400)
        self._left = int(matched[1], 16)
        self._state = _State.CHUNK if self._left else _State.TRAILER

    def _skip_trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if not line:
            self._state = _State.DONE
        elif self._trailer_bytes > MAX_TRAILER_BYTES:
            raise RemoteProtocolError(f"its trailers are longer than {MAX_TRAILER_BYTES} bytes", 400)

    def _line(self, longest: int) -> bytes | None:
        """A line without its end; None while it is not complete."""
        end = self._buffer.find(b"\n", 0, longest + len(LINE_END))
        if end < 0:
            if len(self._buffer) >= longest + len(LINE_END):
                raise RemoteProtocolError(f"a line of its chunks is longer than {longest} bytes", 400)
            return None
        line = self._take(end + 1)
        if not line.endswith(LINE_END) or b"\r" in line[: -len(LINE_END)]:
            raise RemoteProtocolError("a line of its chunks does not end in CR LF", 400)
        return line[: -len(LINE_END)]

    def _take(self, size: int) -> bytes:
        with memoryview(self._buffer) as view:
            taken = bytes(view[:size])
        del self._buffer[: len(taken)]
        return taken
