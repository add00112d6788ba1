# SPDX-License-Identifier: Apache-2.0
"""Claim: whatever a client sends after the upgrade, a WebSocket stream gives bytes, an orderly end, or an error of the
stream; it says goodbye with a close frame or not at all, and how the bytes arrive does not change what comes out.

Allowed exceptions: WebSocketError.
"""

import trio
import trio.testing
from wsproto.connection import Connection, ConnectionType

from mezite.net.websocket_connection import WebSocketConnection, WebSocketError
from mezite.net.websocket_stream import WebSocketStream


async def receive(data: bytes, step: int) -> tuple[bytes, int]:
    """What comes out, and the code of the error: 0 for none."""
    ours, theirs = trio.testing.memory_stream_pair()
    server = WebSocketStream(WebSocketConnection(theirs, Connection(ConnectionType.SERVER)))
    for start in range(0, len(data), step):
        await ours.send_all(data[start : start + step])
    await ours.send_eof()
    got = bytearray()
    try:
        while piece := await server.receive_some(64):
            assert len(piece) <= 64
            got += piece
    except WebSocketError as error:
        await server.aclose()
        said = bytes(await ours.receive_some())
        assert not said or said[0] == 0x88
        return bytes(got), error.code
    return bytes(got), 0


def check(data: bytes) -> None:
    """``data`` is what a client sends behind its upgrade."""
    whole = trio.run(receive, data, max(1, len(data)))
    assert trio.run(receive, data, 1) == whole
    assert len(whole[0]) <= len(data)
