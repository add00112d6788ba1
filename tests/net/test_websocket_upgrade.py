# SPDX-License-Identifier: Apache-2.0
"""The upgrade from both sides, and on the HTTP server."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from mezite.net.asgi_answer import answer
from mezite.net.asgi_types import Receive, Scope, Send
from mezite.net.http1_server import serve_http1
from mezite.net.http1_websocket import ACCEPT, UPGRADE
from mezite.net.websocket_upgrade import UpgradeError, open_websocket

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION = b"Sec-WebSocket-Version: 13\r\n"
ASKED = b"Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"


async def app(scope: Scope, _receive: Receive, send: Send) -> None:
    """Echoes one message on /echo, and refuses everything else in various ways."""
    assert scope["type"] == "websocket"
    path = scope["path"]
    if path == "/echo":
        assert (scope["scheme"], scope["client"]) == ("wss", ("192.0.2.1", 7))
        connection = await scope["extensions"][ACCEPT]()
        message = await connection.receive_message(100)
        await connection.send(message)
        await connection.close()
        with pytest.raises(RuntimeError):
            await scope["extensions"][ACCEPT]()
    elif path == "/421":
        await answer(scope, send, 421, "No", "no such host")
    elif path == "/close":
        await send({"type": "websocket.close", "code": 1008})
    elif path == "/passed-on":
        stream, rest = await scope["extensions"][UPGRADE](b"HTTP/1.1 101 X\r\n\r\n")
        await stream.send_all(b"<" + rest + b">")
        # What it was cut for cannot be said in HTTP any more.
        with pytest.raises(trio.BrokenResourceError):
            await answer(scope, send, 403, "No", "not any more")
        await stream.aclose()
    elif path == "/raise":
        raise RuntimeError("a bug")


async def exchange(data: bytes) -> bytes:
    """All that the server says to `data`."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, theirs)
        await ours.send_all(data)
        # Where the connection is kept: there is no next request.
        await ours.send_eof()
        said = b""
        while more := await ours.receive_some():
            said += more
        nursery.cancel_scope.cancel()
    return said


async def serve(stream: trio.abc.Stream) -> None:
    await serve_http1(stream, app, scheme="https", client="192.0.2.1:7", server="192.0.2.2:443")


async def test_the_upgrade_and_what_came_with_it() -> None:
    """The first frame in the packet of the request is not lost; the token is that of RFC 6455 section 1.3."""
    said = await exchange(b"GET /echo HTTP/1.1\r\n" + ASKED + KEY + VERSION + b"\r\n" + b"\x82\x81\0\0\0\0a")
    head, _, frames = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    assert frames == b"\x82\x01a" + b"\x88\x02\x03\xe8"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /echo HTTP/1.1\r\n" + ASKED + KEY + b"\r\n", 426),
        (b"GET /echo HTTP/1.1\r\n" + ASKED + KEY + VERSION + VERSION + b"\r\n", 426),
        (b"GET /echo HTTP/1.1\r\n" + ASKED + KEY + b"Sec-WebSocket-Version: 8\r\n\r\n", 426),
        (b"GET /echo HTTP/1.1\r\n" + ASKED + VERSION + b"\r\n", 400),
        (b"GET /echo HTTP/1.1\r\n" + ASKED + VERSION + b"Sec-WebSocket-Key: AAAA\r\n\r\n", 400),
        (b"GET /echo HTTP/1.1\r\n" + ASKED + KEY + KEY + VERSION + b"\r\n", 400),
        (
            b"GET /echo HTTP/1.1\r\n" + ASKED + KEY + VERSION + b"Connection: Sec-WebSocket-Key\r\n\r\n",
            400,
        ),
        (b"GET /echo HTTP/1.0\r\n" + ASKED + KEY + VERSION + b"\r\n", 400),
        (b"POST /echo HTTP/1.1\r\n" + ASKED + KEY + VERSION + b"\r\n", 400),
        (b"GET /echo HTTP/1.1\r\n" + ASKED + KEY + VERSION + b"Content-Length: 1\r\n\r\na", 400),
        (
            b"GET /echo HTTP/1.1\r\n"
            + ASKED
            + KEY
            + VERSION
            + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (b"GET /421 HTTP/1.1\r\n" + ASKED + KEY + VERSION + b"\r\n", 421),
        (b"GET /close HTTP/1.1\r\n" + ASKED + KEY + VERSION + b"\r\n", 403),
        (b"GET /raise HTTP/1.1\r\n" + ASKED + KEY + VERSION + b"\r\n", 500),
        (b"GET /nothing HTTP/1.1\r\n" + ASKED + KEY + VERSION + b"\r\n", 500),
    ],
)
async def test_what_is_refused(request_bytes: bytes, status: int) -> None:
    said = await exchange(request_bytes)
    assert said.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"101" not in said.partition(b"\r\n")[0]


async def test_both_sides_together() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, theirs)
        connection = await open_websocket(ours, "hub.example.com", "/echo", headers=[("x-a", "b")])
        await connection.send("hello")
        assert await connection.receive_message(100) == "hello"
        assert await connection.receive_message(100) is None
        await connection.close()


async def refusal(said: bytes, *, ends: bool = True, seconds: float = 15) -> UpgradeError:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(said)
    if ends:
        await theirs.send_eof()
    with pytest.raises(UpgradeError) as caught:
        await open_websocket(ours, "hub", "/v1/tunnel", deadline_seconds=seconds)
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"x")
    return caught.value


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, "status 404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "status 200"),
        (b"", 0, "without an answer"),
        (b"HTTP/1.1 101 S\r\nA: " + b"x" * 100_000, 0, "malformed"),
        (b"SSH-2.0-x\r\n\r\n", 0, "malformed"),
        (b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 0, "malformed"),
        (
            b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
            0,
            "malformed",
        ),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", 103, "status 103"),
    ],
)
async def test_answers_that_are_no_websocket(said: bytes, status: int, reason: str) -> None:
    error = await refusal(said)
    assert error.status == status
    assert reason in error.reason


async def test_an_answer_that_never_comes(autojump_clock: trio.testing.MockClock) -> None:
    assert "within 3 s" in (await refusal(b"HTTP/1.1 101", ends=False, seconds=3)).reason


async def test_a_connection_that_breaks() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.receive_stream.aclose()
    with pytest.raises(UpgradeError, match="the connection broke"):
        await open_websocket(ours, "hub", "/v1/tunnel")


async def test_the_stream_is_given_to_who_passes_websockets_on() -> None:
    """The bytes behind the request come with it; the 101 is the other server's."""
    said = await exchange(b"GET /passed-on HTTP/1.1\r\n" + ASKED + KEY + VERSION + b"\r\nearly")
    assert said == b"HTTP/1.1 101 X\r\n\r\n<early>"
