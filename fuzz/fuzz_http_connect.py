# SPDX-License-Identifier: Apache-2.0
"""Claim: a proxy's answer is read the same however its bytes arrive: the same status and the same bytes behind it, or a
refusal both times. What an accepted head holds is printable.

Allowed exceptions: RemoteProtocolError for an answer that is none.
"""

from mezite.core.errors import RemoteProtocolError
from mezite.core.http_connect import MAX_HEAD_BYTES, HttpConnect


def read(data: bytes, step: int) -> tuple[str, bytes] | None:
    """The answer as text and what follows it, or None when it is refused or incomplete."""
    connect = HttpConnect("hub.example.com", 443)
    try:
        for start in range(0, len(data), step):
            connect.receive_data(data[start : start + step])
    except RemoteProtocolError:
        return None
    if connect.answer is None:
        return None
    assert 200 <= connect.answer.status < 600
    assert str(connect.answer).isprintable()
    assert str(connect.answer).isascii()
    return str(connect.answer), connect.trailing_data()


def check(data: bytes) -> None:
    """``data`` is all that a proxy says."""
    whole = read(data, max(1, len(data)))
    if len(data) <= MAX_HEAD_BYTES:
        assert read(data, 1) == whole
        assert read(data, 7) == whole
    if whole is not None:
        assert data.endswith(whole[1])
