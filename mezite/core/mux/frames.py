# SPDX-License-Identifier: Apache-2.0
"""One frame to bytes, and the payload of one frame to values; docs/mux-protocol.md, section The frame."""

import enum
import struct
from typing import Final

from mezite.core.errors import RemoteProtocolError
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.header import MAX_HEADER

__all__ = [
    "FRAME_HEADER",
    "HEADER_SIZE",
    "PAYLOAD_LENGTHS",
    "FrameType",
    "decode_goaway",
    "decode_reason",
    "encode_frame",
    "encode_goaway",
    "encode_number",
    "encode_reason",
]

FRAME_HEADER: Final = struct.Struct(">II")
"""Type and payload length in one word, then the channel id."""
HEADER_SIZE: Final = FRAME_HEADER.size
MAX_TEXT: Final = 256
"""A sentence for an operator; with 1,024 channels reset at once still only 256 KiB."""
GOAWAY: Final = struct.Struct(">IIH")


@enum.unique
class FrameType(enum.IntEnum):
    """The first byte of a frame."""

    OPEN = 1
    ACCEPT = 2
    REJECT = 3
    DATA = 4
    EOF = 5
    RESET = 6
    WINDOW = 7
    PING = 8
    PONG = 9
    SETTINGS = 10
    GOAWAY = 11


PAYLOAD_LENGTHS: Final[dict[int, tuple[int, int]]] = {
    FrameType.OPEN: (4, MAX_HEADER),
    FrameType.ACCEPT: (0, 0),
    FrameType.REJECT: (2, 2 + MAX_TEXT),
    FrameType.DATA: (1, 0),
    FrameType.EOF: (0, 0),
    FrameType.RESET: (2, 2 + MAX_TEXT),
    FrameType.WINDOW: (4, 4),
    FrameType.PING: (8, 8),
    FrameType.PONG: (8, 8),
    FrameType.SETTINGS: (6, 198),
    FrameType.GOAWAY: (10, 10 + MAX_TEXT),
}
"""Shortest and longest payload by type; the longest DATA is negotiated."""


def encode_frame(kind: int, channel_id: int, payload: bytes = b"") -> bytes:
    """The bytes of one frame; the caller keeps to PAYLOAD_LENGTHS."""
    return FRAME_HEADER.pack(kind << 24 | len(payload), channel_id) + payload


def encode_number(kind: int, channel_id: int, number: int, size: int) -> bytes:
    """A frame whose payload is one number: WINDOW (size 4), PING and PONG (size 8)."""
    return encode_frame(kind, channel_id, number.to_bytes(size))


def encode_reason(kind: int, channel_id: int, code: int, text: str) -> bytes:
    """A REJECT or RESET; see ``encode_text`` for what happens to ``text``."""
    return encode_frame(kind, channel_id, code.to_bytes(2) + encode_text(text))


def encode_goaway(last_channel: int, retry_after_ms: int, code: int, text: str) -> bytes:
    """A GOAWAY; see ``encode_text`` for what happens to ``text``."""
    payload = GOAWAY.pack(last_channel, retry_after_ms, code) + encode_text(text)
    return encode_frame(FrameType.GOAWAY, 0, payload)


def encode_text(text: str) -> bytes:
    """UTF-8, with ``?`` for whatever is not printable, cut to 256 bytes between characters."""
    clean = "".join(char if char.isprintable() else "?" for char in text[:MAX_TEXT])
    return clean.encode()[:MAX_TEXT].decode(errors="ignore").encode()


def decode_reason(payload: bytes) -> tuple[ErrorCode, str]:
    """Code and text of a REJECT or RESET.

    Raises RemoteProtocolError (FRAME_ERROR) when the text is not one printable line: it ends up in logs and
    on terminals, where it must not forge a line.
    """
    return ErrorCode.from_wire(int.from_bytes(payload[:2])), decode_text(payload[2:])


def decode_goaway(payload: bytes) -> tuple[int, int, ErrorCode, str]:
    """Last channel, retry after in ms, code, text of a GOAWAY.

    Raises RemoteProtocolError as ``decode_reason``.
    """
    last_channel, retry_after_ms, code = GOAWAY.unpack_from(payload)
    return last_channel, retry_after_ms, ErrorCode.from_wire(code), decode_text(payload[GOAWAY.size :])


def decode_text(data: bytes) -> str:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError("text is not UTF-8", ErrorCode.FRAME_ERROR) from None
    if not text.isprintable():
        raise RemoteProtocolError("text is not printable", ErrorCode.FRAME_ERROR)
    return text
