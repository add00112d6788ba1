# SPDX-License-Identifier: Apache-2.0
"""Identifiers that sort by time, from a clock and random bytes that the caller supplies."""

from __future__ import annotations

__all__ = ["uuid7"]

_RANDOM_BYTES = 10
_TIMESTAMP_BITS = 48


def uuid7(timestamp_ms: int, random: bytes) -> str:
    """Build a version 7 UUID (RFC 9562 section 5.7) in its lower-case text form.

    :param timestamp_ms: milliseconds since 1970, UTC; must fit 48 bits (until the year 10889).
    :param random: exactly 10 bytes; 74 bits of them are used.
    :raises ValueError: the time does not fit or the random bytes are not 10.
    """
    if not 0 <= timestamp_ms < 1 << _TIMESTAMP_BITS:
        raise ValueError(f"timestamp {timestamp_ms} does not fit 48 bits")
    if len(random) != _RANDOM_BYTES:
        raise ValueError(f"uuid7 needs {_RANDOM_BYTES} random bytes, not {len(random)}")
    value = timestamp_ms << 80 | int.from_bytes(random, "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
