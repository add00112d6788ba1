# SPDX-License-Identifier: Apache-2.0
import random

import pytest
import trio
import trio.testing

from mezite.net.http1_client import Http1ClientError, Response, request
from mezite.testing.fault_stream import FaultPlan, FaultStream
from mezite.testing.memory_network import MemoryNetwork, MemoryStream


async def connect() -> tuple[MemoryStream, MemoryStream]:
    async with (network := MemoryNetwork()).listen("hub:80") as listener:
        return await network.dial("hub:80"), await listener.accept()


async def answered(raw: bytes, *, end: bool = True, max_body: int = 1000) -> Response:
    """What the client makes of a server that answers ``raw``."""
    client, server = await connect()
    await server.send_all(raw)
    if end:
        await server.send_eof()
    return await request(client, "GET", "/x", host="h", max_body=max_body)


async def test_what_is_sent() -> None:
    client, server = await connect()
    await server.send_all(b"HTTP/1.1 204 No\r\n\r\n" * 2)
    await request(client, "GET", "/x?y", [("X-A", "b")], host="hub:3080")
    assert await server.receive_some() == b"GET /x?y HTTP/1.1\r\nhost: hub:3080\r\nX-A: b\r\n\r\n"
    client, server = await connect()
    await server.send_all(b"HTTP/1.1 204 No\r\n\r\n")
    await request(client, "POST", "/", [], b"abc", host="h")
    assert await server.receive_some() == b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc"


@pytest.mark.parametrize("seed", range(3))
async def test_a_response_in_pieces(seed: int) -> None:
    client, server = await connect()
    faulty = FaultStream(client, FaultPlan(split=1.0, max_piece=4), random.Random(seed))
    await server.send_all(
        b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    await server.send_all(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    response = await request(faulty, "GET", "/", host="h")
    assert (response.status, response.body, response.keep_alive) == (200, b"abcde", True)
    assert response.header(b"x-a") == b"b"
    assert response.header(b"x-b") is None


@pytest.mark.parametrize(
    ("raw", "keep_alive"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n", False),
        (b"HTTP/1.1 200 OK\r\n\r\nok", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", False),
    ],
)
async def test_whether_the_stream_can_be_used_again(raw: bytes, keep_alive: bool) -> None:
    response = await answered(raw)
    assert (response.body, response.keep_alive) == (b"ok", keep_alive)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "malformed|ended before"),
        (b"HTTP/1.1 200 OK\r\nContent-", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "malformed"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok", "two ways"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "switched|malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + bytes(1001), "larger than 1000"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40_000, "malformed"),
    ],
)
async def test_what_is_no_response(raw: bytes, words: str) -> None:
    with pytest.raises(Http1ClientError, match=words):
        await answered(raw)


async def test_a_server_that_does_not_answer(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(Http1ClientError, match="within 30 s"):
        await answered(b"HTTP/1.1 200", end=False)


async def test_a_connection_that_breaks() -> None:
    client, _ = await connect()
    client._link.reset()
    with pytest.raises(Http1ClientError, match="broke"):
        await request(client, "GET", "/", host="h")


async def test_a_request_that_cannot_be_written() -> None:
    client, _ = await connect()
    with pytest.raises(ValueError, match="not a valid request"):
        await request(client, "GET", "/a b", host="h")
