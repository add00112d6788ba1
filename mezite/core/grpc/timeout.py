# SPDX-License-Identifier: Apache-2.0
"""The ``grpc-timeout`` field: at most eight digits and a unit (gRPC over HTTP/2, "Timeout")."""

from __future__ import annotations

import math
import re

from mezite.core.errors import RemoteProtocolError
from mezite.core.grpc.status import StatusCode

__all__ = ["format_timeout", "parse_timeout"]

_NANOSECONDS = {
    b"n": 1,
    b"u": 1_000,
    b"m": 1_000_000,
    b"S": 1_000_000_000,
    b"M": 60_000_000_000,
    b"H": 3_600_000_000_000,
}
_FIELD = re.compile(rb"[0-9]{1,8}[HMSmun]")
_LARGEST = 99_999_999  # eight digits


def parse_timeout(value: bytes) -> float:
    """Seconds from now until the caller gives up.

    Raises RemoteProtocolError (code INTERNAL) for anything but one to eight digits and one unit letter.
    """
    if not _FIELD.fullmatch(value):
        raise RemoteProtocolError("grpc-timeout is malformed", StatusCode.INTERNAL)
    return int(value[:-1]) * _NANOSECONDS[value[-1:]] / 1_000_000_000


def format_timeout(seconds: float) -> bytes:
    """The field for a call with so many seconds left, in the finest unit that fits, rounded up.

    A deadline already past becomes one nanosecond, since zero is read as "none" by some servers. Anything
    beyond the largest value (some 11,000 years) is that value.
    """
    if seconds <= 0:
        return b"1n"
    if seconds >= _LARGEST * 3600:
        return b"%dH" % _LARGEST
    nanoseconds = math.ceil(seconds * 1_000_000_000)
    counts = ((-(-nanoseconds // size), unit) for unit, size in _NANOSECONDS.items())
    return b"%d%s" % next((count, unit) for count, unit in counts if count <= _LARGEST)
