# SPDX-License-Identifier: Apache-2.0
"""A queue of bytes that keeps large chunks as they came and packs small ones together."""

from collections import deque

__all__ = ["Chunk", "ChunkQueue"]

Chunk = bytes | bytearray | memoryview

# Every bytes object costs some 40 bytes beside its content: a peer that sends byte by byte would make us hold
# 40 times its credit (threat B9). From here on that is under 2 %, and copying a chunk begins to cost more
# than keeping it.
PACK_BELOW = 2048
PACKED_SIZE = 32 * 1024


class ChunkQueue:
    """First in, first out; ``len()`` is the number of bytes."""

    __slots__ = ("_chunks", "_size")

    def __init__(self) -> None:
        self._chunks: deque[Chunk] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, data: Chunk) -> None:
        """Add at the end. ``bytes`` are kept without a copy; a view is trusted not to change."""
        size = len(data)
        if size < PACK_BELOW:
            last = self._chunks[-1] if self._chunks else None
            if type(last) is bytearray and len(last) < PACKED_SIZE:
                last += data
            elif size:
                self._chunks.append(bytearray(data))
        else:
            self._chunks.append(bytes(data) if type(data) is bytearray else data)
        self._size += size

    def take_into(self, parts: list[Chunk], count: int) -> None:
        """Move exactly ``count`` bytes, at most ``len(self)``, to the end of ``parts``; nothing large is
        copied.
        """
        chunks = self._chunks
        self._size -= count
        while count:
            chunk = chunks.popleft()
            if len(chunk) > count:
                rest = memoryview(chunk)
                parts.append(rest[:count])
                chunks.appendleft(rest[count:])
                return
            parts.append(chunk)
            count -= len(chunk)

    def take(self, count: int) -> bytes:
        """Up to ``count`` bytes from the front, as one object.

        The first chunk is handed on as it is when it is most of that: joining costs less than the caller's
        next turn, but not nothing.
        """
        first = self._chunks[0] if self._chunks else b""
        if count // 4 * 3 < len(first) <= count:
            count = len(first)
        count = min(count, self._size)
        parts: list[Chunk] = []
        self.take_into(parts, count)
        if len(parts) == 1:
            return bytes(parts[0])
        return b"".join(parts)

    def clear(self) -> None:
        """Forget everything."""
        self._chunks.clear()
        self._size = 0
