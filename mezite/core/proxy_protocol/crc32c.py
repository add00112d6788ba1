# SPDX-License-Identifier: Apache-2.0
"""CRC-32C (Castagnoli), which version 2 headers may carry; RFC 9260 appendix A has the polynomial and the table.

zlib has the other CRC-32. A header has a few hundred bytes, so a table and a loop are fast enough.
"""

from __future__ import annotations

__all__ = ["crc32c"]

_REVERSED_POLYNOMIAL = 0x82F63B78


def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        remainder = value
        for _bit in range(8):
            remainder = remainder >> 1 ^ (_REVERSED_POLYNOMIAL if remainder & 1 else 0)
        table.append(remainder)
    return tuple(table)


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """Return the checksum of `data`, 0 to 2**32 - 1."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder = remainder >> 8 ^ _TABLE[(remainder ^ byte) & 0xFF]
    return remainder ^ 0xFFFFFFFF
