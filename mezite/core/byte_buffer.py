# SPDX-License-Identifier: Apache-2.0
"""Bytes that arrive in any portions, taken out in the portions a parser wants."""

from typing import Final

from mezite.core.errors import RemoteProtocolError

__all__ = ["ByteBuffer"]

# Taken bytes stay in front until they are this many and at least half of the buffer: then each byte is moved
# at most once on average, and the time for any sequence of calls is linear in the bytes (threat P10).
COMPACT_AT: Final = 4096


class ByteBuffer:
    """Incremental input of a parser: take field by field, then ``commit``; or ``rollback`` when bytes are
    missing.

    ``limit`` is the largest number of bytes that may be held uncommitted; a parser passes the size of its
    largest legal unit, so that a peer that never completes one cannot make this grow.
    """

    def __init__(self, limit: int) -> None:
        if limit <= 0:
            raise ValueError("limit must be positive")
        self._limit = limit
        self._data = bytearray()
        self._committed = 0
        self._position = 0

    def __len__(self) -> int:
        """Bytes that can still be taken."""
        return len(self._data) - self._position

    @property
    def uncommitted(self) -> int:
        """Bytes held: those not taken yet and those taken since the last commit."""
        return len(self._data) - self._committed

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Append what arrived. Raises RemoteProtocolError, and takes nothing, when that would pass the
        limit.
        """
        if self.uncommitted + len(data) > self._limit:
            raise RemoteProtocolError(f"more than {self._limit} bytes without a complete unit")
        if self._committed >= COMPACT_AT and self._committed * 2 >= len(self._data):
            del self._data[: self._committed]
            self._position -= self._committed
            self._committed = 0
        self._data += data

    def take(self, count: int) -> bytes | None:
        """Exactly ``count`` bytes (0 gives ``b""``), or None, taking nothing, when fewer are there."""
        if count < 0:
            raise ValueError("count must not be negative")
        end = self._position + count
        if end > len(self._data):
            return None
        taken = bytes(memoryview(self._data)[self._position : end])
        self._position = end
        return taken

    def commit(self) -> None:
        """What was taken is done with; the limit counts from here."""
        self._committed = self._position
        if self._committed == len(self._data):
            self._data.clear()
            self._committed = self._position = 0

    def rollback(self) -> None:
        """Everything taken since the last commit can be taken again."""
        self._position = self._committed
