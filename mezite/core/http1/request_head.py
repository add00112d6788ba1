# SPDX-License-Identifier: Apache-2.0
"""The head of an HTTP/1 request, read strictly (RFC 9112, threats D1, D2).

Request smuggling lives on two parsers that disagree about where a message ends. So this gate stands before
the HTTP library and lets only heads through that every parser reads the same way: exact line ends, one Host,
one way to tell the length of the body, a path and nothing else as target. What RFC 9112 allows a server to
repair is refused here.
"""

import re
from typing import Final

import attrs

from mezite.core.errors import RemoteProtocolError

__all__ = [
    "CONTENT_LENGTH",
    "FIELD_NAME",
    "FIELD_VALUE",
    "HEAD_END",
    "MAX_FIELDS",
    "MAX_HEAD_BYTES",
    "Fields",
    "RequestHead",
    "RequestHeadReader",
    "parse_fields",
    "parse_request_head",
]

MAX_HEAD_BYTES: Final = 16 * 1024
"""Request line and fields; nginx allows 8 KiB a line and 32 in all, Node 16 KiB in all. Cookies fit."""

MAX_TARGET_BYTES: Final = 8 * 1024
"""RFC 9112 section 3 recommends to support 8,000."""

MAX_FIELDS: Final = 100
"""Apache's limit; browsers behind two balancers send about 30."""

HEAD_END = b"\r\n\r\n"
BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
BARE_RETURN = re.compile(rb"\r(?!\n)")
METHOD = re.compile(rb"[A-Z][A-Z-]{0,19}")
VERSION = re.compile(rb"HTTP/([0-9])\.([0-9])")
TARGET = re.compile(rb"/[!-~]*")
FIELD_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
FIELD_VALUE = re.compile(rb"[\t -~\x80-\xff]*")
CONTENT_LENGTH = re.compile(rb"[0-9]{1,15}")
HOST = re.compile(rb"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?")
MAX_PORT = 65535
SINGLE_FIELDS = (b"host", b"content-length", b"transfer-encoding", b"expect")

Fields = tuple[tuple[bytes, bytes], ...]


@attrs.frozen(kw_only=True)
class RequestHead:
    """A request line and its fields, of which nothing is ambiguous."""

    method: bytes
    target: bytes
    """path and query, as sent"""
    minor_version: int
    """1 for HTTP/1.1, 0 for HTTP/1.0"""
    fields: Fields
    """names in lower case, in the order sent"""
    content_length: int | None
    """bytes of the body; None when not told"""
    chunked: bool
    """whether the body is chunked"""

    def field(self, name: bytes) -> bytes | None:
        """The value of the first field ``name`` (lower case), or None."""
        return next((value for key, value in self.fields if key == name), None)

    def tokens(self, name: bytes) -> frozenset[bytes]:
        """The comma-separated values of all fields ``name``, in lower case."""
        joined = b",".join(value for key, value in self.fields if key == name)
        return frozenset(token.strip(b" \t").lower() for token in joined.split(b",")) - {b""}

    @property
    def host(self) -> bytes:
        """The Host field; empty only for HTTP/1.0."""
        return self.field(b"host") or b""

    @property
    def wants_close(self) -> bool:
        """Whether the connection ends with this request: asked for, or HTTP/1.0."""
        return self.minor_version == 0 or b"close" in self.tokens(b"connection")


class RequestHeadReader:
    """Cuts heads off a stream of bytes. Searches no byte twice, however slowly they come (threat P10).

    ``max_bytes`` bounds a head, that of a response too.
    """

    def __init__(self, max_bytes: int = MAX_HEAD_BYTES) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._searched = 0

    def receive_data(self, data: bytes | bytearray) -> None:
        """Bytes from the client."""
        self._buffer += data

    def next_head(self) -> bytes | None:
        """The bytes of a complete head, or None while it is not complete.

        Raises :exc:`RemoteProtocolError` with the HTTP status as its code: 400 for a line that ends in a bare
        LF, 431 when the head is too long.
        """
        end = self._buffer.find(HEAD_END, max(0, self._searched - len(HEAD_END) + 1))
        size = len(self._buffer) if end < 0 else end + len(HEAD_END)
        if BARE_LINE_FEED.search(self._buffer, self._searched, size):
            raise RemoteProtocolError("a line of the head ends in a bare line feed", 400)
        if size > self._max_bytes:
            raise RemoteProtocolError(f"the head is longer than {self._max_bytes} bytes", 431)
        if end < 0:
            self._searched = size
            return None
        self._searched = 0
        return self._take(size)

    def take_rest(self) -> bytes:
        """What came after the head: the beginning of the body, or of the next request."""
        return self._take(len(self._buffer))

    @property
    def is_empty(self) -> bool:
        """Whether no byte of a next request has come yet."""
        return not self._buffer

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def parse_request_head(data: bytes, *, asterisk_form: bool = False) -> RequestHead:
    """Read a head as cut off by :class:`RequestHeadReader`, with its final empty line.

    ``asterisk_form`` also allows ``OPTIONS *`` (RFC 9112 section 3.2.4).

    Raises :exc:`RemoteProtocolError` whose code is the HTTP status to answer and whose message may be sent.
    """
    if not data.endswith(HEAD_END) or BARE_LINE_FEED.search(data) or BARE_RETURN.search(data):
        raise RemoteProtocolError("lines of the head must end in CR LF, and the head in an empty line", 400)
    request_line, *field_lines = data[: -len(HEAD_END)].split(b"\r\n")
    method, target, minor_version = parse_request_line(request_line, asterisk_form=asterisk_form)
    fields = parse_fields(field_lines)
    check_host(fields, minor_version)
    content_length, chunked = body_framing(fields, minor_version)
    return RequestHead(
        method=method,
        target=target,
        minor_version=minor_version,
        fields=fields,
        content_length=content_length,
        chunked=chunked,
    )


def parse_request_line(line: bytes, *, asterisk_form: bool) -> tuple[bytes, bytes, int]:
    parts = line.split(b" ")
    if len(parts) != 3:
        raise RemoteProtocolError("the request line is not: method, space, target, space, version", 400)
    method, target, version = parts
    matched = VERSION.fullmatch(version)
    if matched is None:
        raise RemoteProtocolError("the request line ends in no HTTP version", 400)
    if matched[1] != b"1" or matched[2] not in (b"0", b"1"):
        raise RemoteProtocolError("only HTTP/1.1 and HTTP/1.0 are spoken here", 505)
    if METHOD.fullmatch(method) is None:
        raise RemoteProtocolError("the method is not an upper-case word", 400)
    if not (asterisk_form and method == b"OPTIONS" and target == b"*"):
        check_target(target)
    return method, target, 1 if matched[2] == b"1" else 0


def check_target(target: bytes) -> None:
    if len(target) > MAX_TARGET_BYTES:
        raise RemoteProtocolError(f"the target is longer than {MAX_TARGET_BYTES} bytes", 414)
    if TARGET.fullmatch(target) is None or b"#" in target:
        raise RemoteProtocolError("the target is not a path of visible ASCII without a fragment", 400)


def parse_fields(lines: list[bytes]) -> Fields:
    if len(lines) > MAX_FIELDS:
        raise RemoteProtocolError(f"there are more than {MAX_FIELDS} header fields", 431)
    return tuple(parse_field(line) for line in lines)


def parse_field(line: bytes) -> tuple[bytes, bytes]:
    if line[:1] in (b" ", b"\t"):
        raise RemoteProtocolError("a header field is folded over two lines", 400)
    name, colon, value = line.partition(b":")
    if not colon or FIELD_NAME.fullmatch(name) is None or FIELD_VALUE.fullmatch(value) is None:
        raise RemoteProtocolError("a header line is not: name, colon, visible characters", 400)
    return name.lower(), value.strip(b" \t")


def check_host(fields: Fields, minor_version: int) -> None:
    names = [name for name, _ in fields]
    for single in SINGLE_FIELDS:
        if names.count(single) > 1:
            raise RemoteProtocolError(f"{single.decode()} is there more than once", 400)
    host = dict(fields).get(b"host")
    if host is None:
        if minor_version == 1:
            raise RemoteProtocolError("HTTP/1.1 requires a Host", 400)
        return
    matched = HOST.fullmatch(host)
    if matched is None or int(matched[1] or 0) > MAX_PORT:
        raise RemoteProtocolError("Host is not a name or address with an optional port", 400)


def body_framing(fields: Fields, minor_version: int) -> tuple[int | None, bool]:
    """Content-Length and whether the body is chunked; every doubt is a refusal (RFC 9112 section 6.3)."""
    values = dict(fields)
    length, coding = values.get(b"content-length"), values.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            raise RemoteProtocolError("both content-length and transfer-encoding are there", 400)
        if minor_version == 0:
            raise RemoteProtocolError("HTTP/1.0 knows no transfer-encoding", 400)
        if coding.lower() != b"chunked":
            raise RemoteProtocolError("the only transfer-encoding spoken here is chunked", 501)
        return None, True
    if length is None:
        return None, False
    if CONTENT_LENGTH.fullmatch(length) is None:
        raise RemoteProtocolError("content-length is not a decimal number", 400)
    return int(length), False
