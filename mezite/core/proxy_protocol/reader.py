# SPDX-License-Identifier: Apache-2.0
"""From the first bytes of a connection to a header, to "there is none", or to a refusal."""

from __future__ import annotations

import enum
from typing import Final

from mezite.core.errors import RemoteProtocolError
from mezite.core.proxy_protocol import v1, v2
from mezite.core.proxy_protocol.header import ProxyHeader

__all__ = ["NEED_DATA", "NO_HEADER", "HeaderReader", "ReaderState"]


class ReaderState(enum.Enum):
    """What `HeaderReader.next_event` returns besides a header."""

    NEED_DATA = "need data"
    """The bytes so far may become a header."""
    NO_HEADER = "no header"
    """They cannot: everything received is payload."""


NEED_DATA: Final = ReaderState.NEED_DATA
NO_HEADER: Final = ReaderState.NO_HEADER


class HeaderReader:
    """Reads at most one header: a second one is payload (threat C6).

    The answer repeats. Fed whole or byte by byte, it is the same.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._header_bytes = 0
        self._answer: ProxyHeader | ReaderState = NEED_DATA
        self._error: RemoteProtocolError | None = None

    def receive_data(self, data: bytes) -> None:
        """Add bytes; after the answer they are all payload."""
        self._data += data

    def next_event(self) -> ProxyHeader | ReaderState:
        """Return the header, NO_HEADER, or NEED_DATA.

        :raises RemoteProtocolError: it began like a header and is none; raised again at every call.
        """
        if self._error is not None:
            raise self._error
        if self._answer is NEED_DATA:
            try:
                self._answer = self._read()
            except RemoteProtocolError as error:
                self._error = error
                raise
        return self._answer

    def take_payload(self) -> bytes:
        """Return and forget what came after the header; everything when there is none."""
        payload = bytes(self._data[self._header_bytes :])
        self._data.clear()
        self._header_bytes = 0
        return payload

    def _read(self) -> ProxyHeader | ReaderState:
        start = bytes(self._data[: v2.FIXED_BYTES])
        if not start:
            return NEED_DATA
        if v1.PREFIX.startswith(start[: len(v1.PREFIX)]):
            return self._read_v1()
        if v2.SIGNATURE.startswith(start[: len(v2.SIGNATURE)]):
            return self._read_v2(start)
        return NO_HEADER

    def _read_v1(self) -> ProxyHeader | ReaderState:
        end = self._data.find(b"\n", 0, v1.MAX_LINE)
        if end < 0:
            if len(self._data) >= v1.MAX_LINE:
                raise RemoteProtocolError("PROXY v1: no line end within 107 bytes")
            return NEED_DATA
        header = v1.parse(bytes(self._data[: end + 1]))
        self._header_bytes = end + 1
        return header

    def _read_v2(self, start: bytes) -> ProxyHeader | ReaderState:
        if len(start) < v2.FIXED_BYTES:
            return NEED_DATA
        total = v2.FIXED_BYTES + v2.body_length(start)
        if len(self._data) < total:
            return NEED_DATA
        header = v2.parse(bytes(self._data[:total]))
        self._header_bytes = total
        return header
