# SPDX-License-Identifier: Apache-2.0
"""Claim: a request head is refused, or h11 reads it the same way and its body has one length; and how the
bytes are cut into pieces changes nothing.

Allowed exceptions: RemoteProtocolError, from ``next_head`` and ``parse_request_head``.
"""

from collections.abc import Iterable

import h11

from mezite.core.errors import RemoteProtocolError
from mezite.core.http1.request_head import RequestHeadReader, parse_request_head

STATUSES = (400, 414, 431, 501, 505)


def read_head(data: bytes, piece: int) -> tuple[bytes | None, bytes] | int:
    """The head and the rest, or the status of the refusal."""
    reader = RequestHeadReader()
    try:
        for start in range(0, len(data), piece):
            reader.receive_data(data[start : start + piece])
            head = reader.next_head()
            if head is not None:
                return head, reader.take_rest() + data[start + piece :]
    except RemoteProtocolError as error:
        return error.code
    return None, b""


def check(data: bytes) -> None:
    """``data`` is what a client sends."""
    whole = read_head(data, max(1, len(data)))
    dribbled = read_head(data, 1)
    if isinstance(whole, int):
        # A head both too long and wrong may be refused for either.
        assert isinstance(dribbled, int)
        return
    assert dribbled == whole
    if whole[0] is None:
        return
    try:
        head = parse_request_head(whole[0])
    except RemoteProtocolError as error:
        if error.code not in STATUSES:
            raise
        return
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=64 * 1024)
    connection.receive_data(whole[0])
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method, request.target) == (head.method, head.target)
    assert normalized(request.headers) == normalized(head.fields)
    assert head.content_length is None or not head.chunked
    assert sum(name == b"host" for name, _ in head.fields) == 1 or head.minor_version == 0


def normalized(fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """h11 writes the coding in lower case."""
    return [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in fields]


if __name__ == "__main__":
    import sys

    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
