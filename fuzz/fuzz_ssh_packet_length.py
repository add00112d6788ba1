# SPDX-License-Identifier: Apache-2.0
"""Claim: whatever an SSH peer sends in the clear gives payloads of lawful packets or an error, and no more is
buffered than the largest packet and one receive.

Allowed exceptions: PeerProtocolError and EOFError, from ``AeadPacketizer``.
"""

from mezite.ssh.errors import PeerProtocolError
from mezite.ssh.packetizer import AeadPacketizer

LIMIT = 35_000
PIECE = 7


class Wire:
    """A socket that gives its bytes in small pieces."""

    closed = False

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def recv(self, _size: int) -> bytes:
        piece = self.data[self.offset : self.offset + PIECE]
        self.offset += PIECE
        return piece


def check(data: bytes) -> None:
    packetizer = AeadPacketizer(Wire(data))
    total = 0
    try:
        line = packetizer.read_identification(255)
        assert line.isascii()
        assert "\n" not in line
        while True:
            payload = packetizer.read_payload()
            assert payload
            total += len(payload) + 9
            assert total <= len(data)
            assert len(packetizer._buffer) <= LIMIT + 4 + PIECE + 255
    except (PeerProtocolError, EOFError):
        pass


if __name__ == "__main__":
    import sys

    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
