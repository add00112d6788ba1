# SPDX-License-Identifier: Apache-2.0
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from wsproto.connection import Connection, ConnectionType

from mezite.net.websocket_connection import (
    KEEPALIVE_SECONDS,
    MAX_EMPTY_FRAMES,
    SILENCE_SECONDS,
    Piece,
    WebSocketConnection,
    WebSocketError,
)

Raw = trio.abc.Stream

EMPTY_PING = b"\x89\x80\x00\x00\x00\x00"


def pair(limit: int = 1024) -> tuple[WebSocketConnection, WebSocketConnection]:
    ours, theirs = trio.testing.memory_stream_pair()
    return (
        WebSocketConnection(ours, Connection(ConnectionType.CLIENT)),
        WebSocketConnection(theirs, Connection(ConnectionType.SERVER), max_message_bytes=limit),
    )


def raw_client() -> tuple[trio.abc.Stream, WebSocketConnection]:
    """The bytes of a client, and the server that has to live with them."""
    ours, theirs = trio.testing.memory_stream_pair()
    return ours, WebSocketConnection(theirs, Connection(ConnectionType.SERVER))


async def test_messages_of_both_kinds() -> None:
    client, server = pair()
    for message in (b"bytes", "texte \u00e9", b"", ""):
        await client.send(message)
        assert await server.receive_message(100) == (
            message or b"" if isinstance(message, bytes) else message
        )


async def test_a_message_in_frames_comes_in_pieces() -> None:
    raw, server = raw_client()
    await raw.send_all(b"\x02\x82\0\0\0\0ab" + EMPTY_PING + b"\x00\x80\0\0\0\0" + b"\x80\x81\0\0\0\0c")
    assert await server.receive() == Piece(b"ab", True, False)
    assert await server.receive() == Piece(b"c", False, True)


async def test_closing_in_order() -> None:
    client, server = pair()
    await client.send(b"last")
    await client.close(1000, "done")
    await client.close()
    assert await server.receive_message(10) == b"last"
    assert await server.receive_message(10) is None
    assert await server.receive() is None
    with pytest.raises(trio.BrokenResourceError):
        await server.send(b"too late")
    with pytest.raises(trio.ClosedResourceError):
        await client.send(b"too late")
    await server.close()


async def test_the_peers_code_and_reason_are_told() -> None:
    client, server = pair()
    await server.close(1008, "no more of this")
    with pytest.raises(WebSocketError, match="closed by the peer: no more of this") as closed:
        await client.receive()
    assert closed.value.code == 1008


async def test_an_end_without_a_word() -> None:
    raw, server = raw_client()
    await raw.aclose()
    with pytest.raises(WebSocketError, match="without a close frame") as ended:
        await server.receive()
    assert ended.value.code == 1006
    with pytest.raises(trio.BrokenResourceError):
        await server.receive()


async def hostile(data: bytes, take: Callable[[WebSocketConnection], Awaitable[object]]) -> tuple[int, bytes]:
    """What a server does about `data`: the code it raises, and what it says."""
    raw, server = raw_client()
    await raw.send_all(data)
    with pytest.raises(WebSocketError) as caught:
        await take(server)
    said = b""
    while more := await raw.receive_some():
        said += more
    return caught.value.code, said


def frame(opcode: int, payload: bytes) -> bytes:
    return bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x82\x01a", 1002),  # not masked
        (b"\x83\x80\0\0\0\0", 1002),  # an opcode that is none
        (b"\xc2\x80\0\0\0\0", 1002),  # a reserved bit
        (b"\x09\x80\0\0\0\0", 1002),  # a ping in fragments
        (b"\x00\x81\0\0\0\0a", 1002),  # a continuation of nothing
        (b"\x82\xff" + b"\xff" * 8, 1002),  # a length beyond 2**63
        (frame(1, b"\xff"), 1007),  # text that is no UTF-8
        (EMPTY_PING * (MAX_EMPTY_FRAMES + 1), 1008),
        (b"\x02\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * (MAX_EMPTY_FRAMES + 1), 1008),
        (b"\x82\xff" + (1 << 24).to_bytes(8, "big") + b"\0\0\0\0" + b"x" * 1_100_000, 1009),
    ],
)
async def test_a_hostile_client_is_told_why_and_cut(data: bytes, code: int) -> None:
    async def receive_all(server: WebSocketConnection) -> None:
        while await server.receive():
            pass

    got, said = await hostile(data, receive_all)
    assert got == code
    assert said[0] == 0x88
    assert int.from_bytes(said[2:4], "big") == code


async def test_a_message_that_is_too_large_for_its_reader() -> None:
    data = frame(1, b"x" * 40) + frame(2, b"x" * 41)

    async def read(server: WebSocketConnection) -> None:
        assert await server.receive_message(40) == "x" * 40
        await server.receive_message(40)

    code, said = await hostile(data, read)
    assert (code, int.from_bytes(said[2:4], "big")) == (1009, 1009)


async def test_a_hostile_peer_that_does_not_read_the_goodbye(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    server = WebSocketConnection(theirs, Connection(ConnectionType.SERVER))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, b"\x82\x01a")
        with pytest.raises(WebSocketError):
            await server.receive()
    assert trio.current_time() < 3


# --- keeping alive -------------------------------------------------------------------------------------------


async def test_pings_keep_both_directions_moving(autojump_clock: trio.testing.MockClock) -> None:
    client, server = pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.receive)
        nursery.start_soon(server.receive)
        nursery.start_soon(server.keep_alive)
        nursery.start_soon(client.keep_alive)
        await trio.sleep(20.5 * KEEPALIVE_SECONDS)
        nursery.cancel_scope.cancel()
    await client.send(b"still there")
    assert await server.receive_message(100) == b"still there"


async def test_only_the_last_ping_is_answered_and_with_the_next_message() -> None:
    raw, server = raw_client()
    await raw.send_all(frame(9, b"one") + frame(9, b"two") + frame(2, b"x"))
    assert await server.receive_message(10) == b"x"
    await server.send(b"y")
    assert bytes(await raw.receive_some()) == b"\x8a\x03two" + b"\x82\x01y"


async def test_a_silent_peer_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    raw, server = raw_client()
    with pytest.RaisesGroup(trio.BrokenResourceError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.receive)
            nursery.start_soon(server.keep_alive)
    assert SILENCE_SECONDS <= trio.current_time() <= SILENCE_SECONDS + KEEPALIVE_SECONDS
    await raw.aclose()


async def test_whoever_does_not_ask_is_not_told_of_silence(autojump_clock: trio.testing.MockClock) -> None:
    """Back-pressure: nobody receives, so nothing is known about the peer."""
    _raw, server = raw_client()
    with trio.move_on_after(10 * SILENCE_SECONDS):
        await server.keep_alive()
    await server.ping()


async def test_a_send_that_is_cancelled_ends_it(autojump_clock: trio.testing.MockClock) -> None:
    """Threat P1: a part of a frame may be on the wire."""
    _ours, theirs = trio.testing.lockstep_stream_pair()
    server = WebSocketConnection(theirs, Connection(ConnectionType.SERVER))
    with trio.move_on_after(1):
        await server.send(b"x" * 100)
    with pytest.raises(trio.BrokenResourceError):
        await server.send(b"y")
    await server.close()
