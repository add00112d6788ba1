# SPDX-License-Identifier: Apache-2.0
"""The beginning of a connection without TLS that is to speak HTTP/2 (threat D13)."""

from __future__ import annotations

from mezite.core.errors import RemoteProtocolError
from mezite.core.h2c import H2cDetector, PlainRequest, PriorKnowledge, UpgradeRequest
from mezite.net.byte_streams import PushbackStream
from mezite.net.refusal import refuse_http1

__all__ = ["enter_http2"]

READ_BYTES = 16 * 1024
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


async def enter_http2(stream: PushbackStream, wrong_door: str) -> PriorKnowledge | UpgradeRequest | None:
    """Read until it is clear that the client speaks HTTP/2, or bring it there; None when it will not.

    Afterwards ``stream`` begins with the client's HTTP/2. An upgrade was answered with 101 and is the first request
    of the connection. A plain request of HTTP/1 was answered with 426 and the text ``wrong_door``, a wrong one with
    what is wrong; peers that speak something else, or end early, are told nothing.

    The caller holds the deadline and the budget for the bytes of a peer that has proven nothing.
    """
    detector = H2cDetector()
    while data := await stream.receive_some(READ_BYTES):
        detector.receive_data(data)
        try:
            event = detector.next_event()
        except RemoteProtocolError as error:
            if error.code:
                await refuse_http1(stream, error.code, f"{error}\n")
            return None
        match event:
            case PriorKnowledge():
                stream.push_back(event.data)
                return event
            case UpgradeRequest():
                stream.push_back(event.rest)
                await stream.send_all(SWITCHING)
                return event
            case PlainRequest():
                head_only = event.head.method == b"HEAD"
                await refuse_http1(stream, 426, wrong_door, upgrade="h2c", head_only=head_only)
                return None
    return None
