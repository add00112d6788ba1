# SPDX-License-Identifier: Apache-2.0
"""Claim: whatever bytes a peer sends as gRPC messages, they are read the same however they are cut, at most
one incomplete message is kept, and what was read is written again to the same bytes.

Allowed exceptions: RemoteProtocolError from ``next_event``, with INTERNAL or RESOURCE_EXHAUSTED.
"""

from mezite.core.errors import RemoteProtocolError
from mezite.core.grpc.message_framing import Message, MessageReader, frame_message
from mezite.core.grpc.status import StatusCode

LIMIT = 64
ALLOWED_CODES = (StatusCode.INTERNAL, StatusCode.RESOURCE_EXHAUSTED)


def read(wire: bytes, size: int) -> tuple[list[bytes], int | None]:
    """The messages, and the code of the fault if there was one."""
    reader = MessageReader(LIMIT)
    messages: list[bytes] = []
    steps = [wire[start : start + size] for start in range(0, len(wire), size)]
    for step in [*steps, None]:
        if step is None:
            reader.receive_eof()
        else:
            reader.receive_data(step)
        assert reader.buffered_bytes <= LIMIT + 5 + size
        try:
            while isinstance(event := reader.next_event(), Message):
                messages.append(event.data)
        except RemoteProtocolError as error:
            if step is None or error.code not in ALLOWED_CODES:
                return messages, error.code
    return messages, None


def check(data: bytes) -> None:
    """The first byte says how the rest is cut."""
    size, wire = max(1, data[0] if data else 1), data[1:]
    messages, fault = read(wire, size)
    assert fault in (None, *ALLOWED_CODES)
    assert (messages, fault) == read(wire, max(1, len(wire)))
    written = b"".join(frame_message(message, LIMIT) for message in messages)
    assert wire.startswith(written)
    if fault is None:
        assert wire == written
