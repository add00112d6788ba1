# SPDX-License-Identifier: Apache-2.0
"""The data types of RFC 4251 section 5, read strictly: nothing is padded, guessed or left over."""

__all__ = [
    "MalformedWireError",
    "WireReader",
    "encode_mpint",
    "encode_string",
    "encode_uint32",
    "encode_uint64",
]


class MalformedWireError(ValueError):
    """Bytes do not have the announced form: too short, left over, or not in the one canonical spelling."""


class WireReader:
    """Reads one value after another from ``data``; every read checks the bounds first."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return len(self.data) - self.offset

    def read(self, count: int) -> bytes:
        """Exactly ``count`` bytes. Raises MalformedWireError: fewer are left."""
        if count > self.remaining:
            raise MalformedWireError(f"{count} bytes announced, {self.remaining} left")
        start = self.offset
        self.offset += count
        return self.data[start : self.offset]

    def read_uint32(self) -> int:
        """RFC 4251 ``uint32``. Raises MalformedWireError."""
        return int.from_bytes(self.read(4), "big")

    def read_uint64(self) -> int:
        """RFC 4251 ``uint64``. Raises MalformedWireError."""
        return int.from_bytes(self.read(8), "big")

    def read_string(self) -> bytes:
        """RFC 4251 ``string``. Raises MalformedWireError."""
        return self.read(self.read_uint32())

    def read_text(self) -> str:
        """A ``string`` that holds printable text in UTF-8.

        Raises MalformedWireError: not UTF-8, or with control characters (OpenSSH refuses NUL; none of the
        others has a use in a name, and they would reach logs and terminals).
        """
        raw = self.read_string()
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedWireError("text is not UTF-8") from None
        if not text.isprintable():
            raise MalformedWireError("text has control characters")
        return text

    def read_mpint(self) -> int:
        """RFC 4251 ``mpint``, positive and without needless leading zeros. Raises MalformedWireError."""
        raw = self.read_string()
        value = int.from_bytes(raw, "big")
        if raw != encode_mpint(value)[4:] or value == 0:
            raise MalformedWireError("number is zero, negative or not in its shortest form")
        return value

    def expect_end(self) -> None:
        """Raises MalformedWireError: bytes are left over."""
        if self.remaining:
            raise MalformedWireError(f"{self.remaining} bytes left over")


def encode_uint32(value: int) -> bytes:
    """RFC 4251 ``uint32``. Raises OverflowError."""
    return value.to_bytes(4, "big")


def encode_uint64(value: int) -> bytes:
    """RFC 4251 ``uint64``. Raises OverflowError."""
    return value.to_bytes(8, "big")


def encode_string(value: bytes) -> bytes:
    """RFC 4251 ``string``."""
    return len(value).to_bytes(4, "big") + value


def encode_mpint(value: int) -> bytes:
    """RFC 4251 ``mpint`` of a number that is not negative."""
    return encode_string(value.to_bytes(value.bit_length() // 8 + 1, "big") if value else b"")
