# SPDX-License-Identifier: Apache-2.0
"""The data types of RFC 4251 section 5: one strict reader and plain encoders.

The reader never pads: a message that ends early is an error, unlike in paramiko's ``Message``, which
answers a short read with zero bytes (threat A6).
"""

from __future__ import annotations

from mezite.ssh.errors import PeerProtocolError

__all__ = ["WireReader", "boolean", "name_list", "string", "uint32"]


class WireReader:
    """Reads the fields of one message in order. Everything that does not fit raises
    :exc:`PeerProtocolError`.
    """

    __slots__ = ("_data", "_offset")

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self._data = data
        self._offset = offset

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return len(self._data) - self._offset

    def take(self, count: int) -> bytes:
        """The next ``count`` raw bytes."""
        end = self._offset + count
        if end > len(self._data):
            raise PeerProtocolError("message is shorter than its fields say")
        taken = self._data[self._offset : end]
        self._offset = end
        return taken

    def byte(self) -> int:
        """One byte as a number."""
        return self.take(1)[0]

    def boolean(self) -> bool:
        """One byte; every value but 0 is true."""
        return self.take(1) != b"\0"

    def uint32(self) -> int:
        """Four bytes, big endian."""
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        """A length and as many bytes."""
        return self.take(self.uint32())

    def text(self) -> str:
        """A string in UTF-8."""
        try:
            return self.string().decode("utf-8")
        except UnicodeDecodeError:
            raise PeerProtocolError("text is not UTF-8") from None

    def mpint(self) -> int:
        """A whole number that must not be negative: none in this protocol is."""
        number = int.from_bytes(self.string(), "big", signed=True)
        if number < 0:
            raise PeerProtocolError("number is negative")
        return number

    def finish(self) -> None:
        """Raise unless the message is used up."""
        if self.remaining:
            raise PeerProtocolError("message is longer than its fields say")


def boolean(value: bool) -> bytes:
    """One byte, 1 or 0."""
    return b"\1" if value else b"\0"


def uint32(number: int) -> bytes:
    """Four bytes, big endian."""
    return number.to_bytes(4, "big")


def string(value: bytes | str) -> bytes:
    """A length and the bytes; text goes out as UTF-8."""
    data = value.encode("utf-8") if isinstance(value, str) else value
    return len(data).to_bytes(4, "big") + data


def name_list(names: tuple[str, ...]) -> bytes:
    """Names joined by commas."""
    return string(",".join(names))
