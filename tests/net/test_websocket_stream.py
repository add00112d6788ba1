# SPDX-License-Identifier: Apache-2.0
import pytest
import trio
import trio.testing
from wsproto.connection import Connection, ConnectionType

from mezite.net.websocket_connection import WebSocketConnection, WebSocketError
from mezite.net.websocket_stream import MESSAGE_BYTES, WebSocketStream


def over(pair: tuple[trio.abc.Stream, trio.abc.Stream]) -> tuple[WebSocketStream, WebSocketStream]:
    client = WebSocketConnection(pair[0], Connection(ConnectionType.CLIENT))
    server = WebSocketConnection(pair[1], Connection(ConnectionType.SERVER))
    return WebSocketStream(client), WebSocketStream(server)


async def make() -> tuple[WebSocketStream, WebSocketStream]:
    return over(trio.testing.memory_stream_pair())


async def make_clogged() -> tuple[WebSocketStream, WebSocketStream]:
    return over(trio.testing.lockstep_stream_pair())


async def test_it_is_a_half_closeable_stream() -> None:
    await trio.testing.check_half_closeable_stream(make, None)


async def test_it_is_one_when_the_way_is_clogged_too() -> None:
    await trio.testing.check_half_closeable_stream(make_clogged, make_clogged)


async def test_bulk_both_ways() -> None:
    client, server = await make()
    payload = bytes(range(256)) * 4096  # 1 MiB, several messages
    assert len(payload) > 2 * MESSAGE_BYTES

    async def send(stream: WebSocketStream) -> None:
        await stream.send_all(payload)
        await stream.send_eof()

    async def receive(stream: WebSocketStream) -> None:
        got = bytearray()
        while data := await stream.receive_some(100_000):
            assert len(data) <= 100_000
            got += data
        assert got == payload

    async with trio.open_nursery() as nursery:
        for stream in (client, server):
            nursery.start_soon(send, stream)
            nursery.start_soon(receive, stream)


async def test_a_text_message_is_refused() -> None:
    client, server = await make()
    await client.connection.send("hello")
    with pytest.raises(WebSocketError, match="text message") as caught:
        await server.receive_some()
    assert caught.value.code == 1003
    with pytest.raises(WebSocketError, match="binary messages only") as told:
        await client.receive_some()
    assert told.value.code == 1003
