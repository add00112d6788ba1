# SPDX-License-Identifier: Apache-2.0
"""Status codes, and the trailers that carry them (gRPC over HTTP/2, "Responses")."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable

import attrs

__all__ = [
    "Header",
    "Status",
    "StatusCode",
    "decode_message",
    "encode_message",
    "status_from_http_status",
    "status_from_reset",
    "status_from_trailers",
    "status_trailers",
]

Header = tuple[bytes, bytes]
"""One HTTP/2 field, name in lower case."""

_CODE = re.compile(rb"[0-9]{1,2}")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")

MAX_MESSAGE_CHARACTERS = 1024
"""Longest status text we send: with every byte percent-encoded it still fits a 16 KiB header block."""


class StatusCode(enum.IntEnum):
    """The seventeen codes; the numbers are the wire values."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@attrs.frozen
class Status:
    """How a call ended."""

    code: StatusCode
    message: str = ""
    """For people; may be any text."""


def encode_message(text: str) -> bytes:
    """Percent-encode a status text as UTF-8: all but printable ASCII, and ``%`` itself.

    Lone surrogates become question marks: a status text is never a reason to fail a call a second time.
    """
    encoded = text[:MAX_MESSAGE_CHARACTERS].encode("utf-8", "replace")
    return b"".join(
        b"%%%02X" % byte if byte < 0x20 or byte > 0x7E or byte == 0x25 else bytes((byte,)) for byte in encoded
    )


def decode_message(value: bytes) -> str:
    """Undo :func:`encode_message`. Never fails: broken escapes stay as they are, bad UTF-8 is replaced.

    The specification asks for that leniency, since losing the text of an error helps nobody.
    """
    decoded = _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode("ascii")), value)
    return decoded.decode("utf-8", "replace")


def status_trailers(status: Status) -> list[Header]:
    """The two fields that end a call."""
    trailers: list[Header] = [(b"grpc-status", b"%d" % status.code)]
    if status.message:
        trailers.append((b"grpc-message", encode_message(status.message)))
    return trailers


def status_from_trailers(headers: Iterable[Header]) -> Status | None:
    """The status in a block of trailers; None when it names none.

    A code that is not a number or not one of ours reads as UNKNOWN, as the specification asks.
    """
    fields = dict(headers)
    raw = fields.get(b"grpc-status")
    if raw is None:
        return None
    known = _CODE.fullmatch(raw) is not None and int(raw) <= max(StatusCode)
    code = StatusCode(int(raw)) if known else StatusCode.UNKNOWN
    return Status(code, decode_message(fields.get(b"grpc-message", b"")))


_HTTP_STATUS = {
    b"400": StatusCode.INTERNAL,
    b"401": StatusCode.UNAUTHENTICATED,
    b"403": StatusCode.PERMISSION_DENIED,
    b"404": StatusCode.UNIMPLEMENTED,
    b"429": StatusCode.UNAVAILABLE,
    b"502": StatusCode.UNAVAILABLE,
    b"503": StatusCode.UNAVAILABLE,
    b"504": StatusCode.UNAVAILABLE,
}
"""The mapping gRPC lays down for answers that come from something that is no gRPC server, such as a
balancer.
"""


def status_from_http_status(value: bytes) -> Status:
    """What an HTTP ``:status`` other than 200 means for a call that got no ``grpc-status``."""
    code = _HTTP_STATUS.get(value, StatusCode.UNKNOWN)
    return Status(code, f"the server or a proxy answered with HTTP status {value.decode('ascii', 'replace')}")


_RESET_CODES = {
    0x7: (StatusCode.UNAVAILABLE, "the server refused the call before working on it"),
    0x8: (StatusCode.CANCELLED, "the call was cancelled by the other side"),
    0xB: (StatusCode.RESOURCE_EXHAUSTED, "the other side asked us to slow down"),
    0xC: (StatusCode.PERMISSION_DENIED, "the other side asks for better transport security"),
}


def status_from_reset(error_code: int) -> Status:
    """What RST_STREAM with this HTTP/2 error code means for a call (gRPC over HTTP/2, "Errors")."""
    code, message = _RESET_CODES.get(
        error_code, (StatusCode.INTERNAL, f"the other side reset the call (HTTP/2 error {error_code})")
    )
    return Status(code, message)
