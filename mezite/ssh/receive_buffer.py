# SPDX-License-Identifier: Apache-2.0
"""What a channel has received and nobody has read, and the window that bounds it (RFC 4254 section 5.2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mezite.ssh.errors import PeerProtocolError

__all__ = ["ReceiveBuffer"]

#: Small messages are joined while they wait, or a window full of single bytes would take 80 times its size.
MERGE_BYTES = 2048
#: What one reading gives when several messages wait: one write to a program instead of four.
TAKE_BYTES = 128 * 1024


class ReceiveBuffer:
    """``grant(count)`` is called when the peer may send ``count`` more bytes: after an eighth of the window
    has been read, which is rare enough not to cost and early enough not to stall a fast sender.
    """

    def __init__(self, window: int, grant: Callable[[int], None]) -> None:
        self._grant = grant
        self._threshold = window // 8
        self._window = window
        self._read = 0
        self._parts: deque[bytes] = deque()

    def __bool__(self) -> bool:
        return bool(self._parts)

    def spend(self, size: int) -> None:
        """``size`` bytes have arrived: :exc:`PeerProtocolError` when that is more than was granted."""
        if size > self._window:
            raise PeerProtocolError("more data than the channel's window allows")
        self._window -= size

    def append(self, data: bytes) -> None:
        """Keep what has arrived and been spent."""
        if self._parts and len(self._parts[-1]) + len(data) <= MERGE_BYTES:
            self._parts[-1] += data
        elif data:
            self._parts.append(data)

    def take(self, max_bytes: int | None) -> bytes:
        """The oldest data, ``max_bytes`` or a few messages; there must be some."""
        limit = TAKE_BYTES if max_bytes is None else max_bytes
        parts = [self._parts.popleft()]
        size = len(parts[0])
        while self._parts and size + len(self._parts[0]) <= limit:
            parts.append(self._parts.popleft())
            size += len(parts[-1])
        if size > limit:  # a single part then
            self._parts.appendleft(parts[0][limit:])
            parts[0] = parts[0][:limit]
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.release(len(data))
        return data

    def release(self, size: int) -> None:
        """``size`` bytes need no room any more."""
        self._read += size
        if self._read >= self._threshold:
            self._window += self._read
            count, self._read = self._read, 0
            self._grant(count)

    def clear(self) -> None:
        """Drop everything; nothing is granted for it."""
        self._parts.clear()
