# SPDX-License-Identifier: Apache-2.0
"""What a TLS client says first: which server it wants (SNI) and what it means to speak inside (ALPN).

Read ahead of the handshake, where one port has several certificates and protocols behind it. RFC 8446 sections 4.1.2
and 5.1, RFC 6066 section 3, RFC 7301 section 3.1. Strict where leniency would let two parsers see two different
messages: every length fits exactly, no extension comes twice, nothing follows. What it does not need it does not judge:
the TLS library reads the same bytes again.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from mezite.core.errors import RemoteProtocolError
from mezite.core.protocol_sniffer import NEED_DATA, NeedData

__all__ = ["DECODE_ERROR", "MAX_HELLO_BYTES", "NEED_DATA", "ClientHello", "ClientHelloReader", "NeedData"]

MAX_HELLO_BYTES: Final = 16 * 1024
"""On the wire, record headers included. With a post-quantum key share (1.2 KB), a session ticket and an encrypted
client hello, honest ones stay under 5 KiB; the message itself could claim 16 MiB."""

DECODE_ERROR: Final = 50
"""The alert for all of it (RFC 8446 section 6.2)."""

_RECORD_HEADER = 5
_MAX_FRAGMENT = 1 << 14
_HANDSHAKE_RECORD = 22
_HANDSHAKE_HEADER = 4
_CLIENT_HELLO = 1
_TLS_MAJOR = 3
_TLS_MAX_MINOR = 4

_SERVER_NAME = 0
_ALPN = 16
_PRE_SHARED_KEY = 41

_HOST_NAME = 0
# Letters, digits and hyphens by RFC 952, underscores in practice, and what clients send that were given an address.
_HOST = re.compile(rb"[A-Za-z0-9_.:-]{1,255}", re.ASCII)


@attrs.frozen
class ClientHello:
    """What is asked for."""

    server_name: str | None
    """The host, in lower case; None when the client names none."""
    alpn: tuple[str, ...]
    """The protocols offered, in the client's order; bytes above 127 as Latin-1. Empty when the client offers none."""


class ClientHelloReader:
    """Reads one ClientHello, which may be spread over several records.

    Fed whole or byte by byte, the answer is the same, and it repeats. The work is linear in the bytes (threat P10).
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._next_record = 0
        self._message = bytearray()
        self._answer: ClientHello | None = None
        self._error: RemoteProtocolError | None = None

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Add what arrived; behind the message it may be anything."""
        if self._answer is None and self._error is None:
            self._data += data

    def next_event(self) -> ClientHello | NeedData:
        """Return the message, or NEED_DATA while it is not complete.

        :raises RemoteProtocolError: it is no ClientHello, or more than MAX_HELLO_BYTES; raised again at every call.
        """
        if self._error is not None:
            raise self._error
        if self._answer is None:
            try:
                self._answer = self._read()
            except RemoteProtocolError as error:
                self._error = error
                raise
        return NEED_DATA if self._answer is None else self._answer

    def _read(self) -> ClientHello | None:
        while (fragment := self._take_record()) is not None:
            self._message += fragment
            if len(self._message) < _HANDSHAKE_HEADER:
                continue
            if self._message[0] != _CLIENT_HELLO:
                raise _refusal("another handshake message comes first")
            missing = (
                _HANDSHAKE_HEADER + int.from_bytes(self._message[1:_HANDSHAKE_HEADER]) - len(self._message)
            )
            if missing < 0:
                raise _refusal("something follows the ClientHello in its record")
            if not missing:
                return _parse(bytes(self._message[_HANDSHAKE_HEADER:]))
        return None

    def _take_record(self) -> bytes | None:
        """Return the next record's fragment, or None while it is not complete."""
        start = self._next_record
        header = bytes(self._data[start : start + _RECORD_HEADER])
        _check_record_header(header)
        if len(header) < _RECORD_HEADER:
            self._check_room(start + _RECORD_HEADER)
            return None
        end = start + _RECORD_HEADER + int.from_bytes(header[3:])
        self._check_room(end)
        if len(self._data) < end:
            return None
        self._next_record = end
        return bytes(self._data[start + _RECORD_HEADER : end])

    def _check_room(self, end: int) -> None:
        if end > MAX_HELLO_BYTES:
            raise _refusal(f"it has more than {MAX_HELLO_BYTES} bytes")


def _refusal(why: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"ClientHello: {why}", DECODE_ERROR)


def _check_record_header(header: bytes) -> None:
    """Check as much of a record's header as is there."""
    if header and header[0] != _HANDSHAKE_RECORD:
        raise _refusal("not a handshake record")
    if (len(header) > 1 and header[1] != _TLS_MAJOR) or (len(header) > 2 and header[2] > _TLS_MAX_MINOR):
        raise _refusal("not a version of TLS")
    # Section 5.1: handshake fragments are not empty.
    if len(header) == _RECORD_HEADER and not 0 < int.from_bytes(header[3:]) <= _MAX_FRAGMENT:
        raise _refusal("a record is empty or too long")


class _Fields:
    """The presentation language of RFC 8446 section 3, read from front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def rest(self) -> int:
        return len(self._data) - self._position

    def take(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._data):
            raise _refusal("a length does not fit")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int, least: int = 0) -> bytes:
        """A length of `size` bytes, and as many bytes as it says, not fewer than `least`."""
        content = self.take(self.number(size))
        if len(content) < least:
            raise _refusal("a list is too short")
        return content

    def end(self) -> None:
        if self.rest:
            raise _refusal("a length does not fit")


def _parse(body: bytes) -> ClientHello:
    fields = _Fields(body)
    if fields.take(2)[0] != _TLS_MAJOR:
        raise _refusal("not a version of TLS")
    fields.take(32)
    if len(fields.vector(1)) > 32:
        raise _refusal("the session id is too long")
    if len(fields.vector(2, 2)) % 2:
        raise _refusal("half a cipher suite")
    fields.vector(1, 1)
    # TLS 1.2 clients may leave the block of extensions out altogether.
    extensions = _extensions(fields.vector(2)) if fields.rest else {}
    fields.end()
    server_name = extensions.get(_SERVER_NAME)
    alpn = extensions.get(_ALPN)
    return ClientHello(
        server_name=None if server_name is None else _read_server_name(server_name),
        alpn=() if alpn is None else _read_alpn(alpn),
    )


def _extensions(block: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    fields = _Fields(block)
    while fields.rest:
        kind = fields.number(2)
        if kind in found:
            raise _refusal("an extension comes twice")
        if _PRE_SHARED_KEY in found:
            raise _refusal("an extension follows pre_shared_key")
        found[kind] = fields.vector(2)
    return found


def _read_server_name(data: bytes) -> str:
    fields = _Fields(data)
    names = _Fields(fields.vector(2, 1))
    fields.end()
    # RFC 6066: one name of each type, and there has only ever been this type.
    if names.number(1) != _HOST_NAME:
        raise _refusal("a server name that is no host name")
    host = names.vector(2)
    names.end()
    if _HOST.fullmatch(host) is None:
        raise _refusal("a server name with characters that no host has")
    return host.decode("ascii").lower()


def _read_alpn(data: bytes) -> tuple[str, ...]:
    fields = _Fields(data)
    names = _Fields(fields.vector(2, 2))
    fields.end()
    offered = []
    while names.rest:
        offered.append(names.vector(1, 1).decode("latin-1"))
    return tuple(offered)
