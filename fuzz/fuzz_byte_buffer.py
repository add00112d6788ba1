# SPDX-License-Identifier: Apache-2.0
"""Claim: any sequence of feed, take, commit and rollback gives exactly the fed bytes in order, and never
holds more than the limit.

Allowed exceptions: RemoteProtocolError, from ``feed`` when the limit would be passed.
"""

from mezite.core.byte_buffer import ByteBuffer
from mezite.core.errors import RemoteProtocolError

LIMIT = 200


def check(data: bytes) -> None:
    """Two bytes are one operation: what to do, and how much."""
    buffer = ByteBuffer(LIMIT)
    fed, committed, taken = bytearray(), 0, 0
    for operation, size in zip(data[::2], data[1::2], strict=False):
        if operation % 4 == 0:
            portion = bytes((len(fed) + i) % 251 for i in range(size))
            try:
                buffer.feed(portion)
                fed += portion
            except RemoteProtocolError:
                assert len(fed) - committed + size > LIMIT
        elif operation % 4 == 1:
            got = buffer.take(size)
            if got is None:
                assert size > len(fed) - taken
            else:
                assert got == fed[taken : taken + size]
                taken += size
        elif operation % 4 == 2:
            buffer.commit()
            committed = taken
        else:
            buffer.rollback()
            taken = committed
        assert len(buffer) == len(fed) - taken
        assert buffer.uncommitted == len(fed) - committed <= LIMIT


if __name__ == "__main__":
    import sys

    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
