# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from mezite.core.proxy_protocol.crc32c import crc32c


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),  # the check value of CRC-32/ISCSI
        (bytes(32), 0x8A9136AA),  # RFC 3720 section B.4
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_known_values(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected
