# SPDX-License-Identifier: Apache-2.0
"""What a client makes of a port that is not the one it wanted; the hub's own ports are in tests/cli."""

from __future__ import annotations

import ssl
from functools import partial

import pytest
import trio

from mezite.core.wrong_doors import Answer
from mezite.net.dialer import DialError
from mezite.net.listener_probe import what_listens
from mezite.net.tls_contexts import server_context
from mezite.net.tls_stream import TlsStream
from mezite.testing.self_signed import self_signed_pem
from tests.loopback import Serve, listening


async def greet(text: bytes, stream: trio.SocketStream) -> None:
    await stream.send_all(text)
    await stream.receive_some()


async def answer(text: bytes, stream: trio.SocketStream) -> None:
    if await stream.receive_some():
        await stream.send_all(text)


async def answer_http(stream: trio.SocketStream) -> None:
    data = await stream.receive_some()
    if data:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def hang_up(stream: trio.SocketStream) -> None:
    await stream.receive_some()


async def say_nothing(stream: trio.SocketStream) -> None:
    while await stream.receive_some():
        pass


async def in_tls(context: ssl.SSLContext, response: bytes, transport: trio.SocketStream) -> None:
    stream = TlsStream(transport, context, server_side=True)
    await stream.do_handshake()
    await stream.receive_some()
    await stream.send_all(response)


def context(*alpn: str) -> ssl.SSLContext:
    certificate, key = self_signed_pem()
    return server_context(certificate, key, alpn)


PAGE = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s"
REFUSAL = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 26\r\n\r\nagents (MEZITE_PROXY_ADDR)"
HUB = b'{"cluster_name": "test"}'


@pytest.mark.parametrize(
    ("serve", "found"),
    [
        (partial(greet, b"SSH-2.0-OpenSSH_9.2\r\n"), Answer.SSH),
        (partial(greet, b"220 mail ESMTP\r\n"), Answer.PLAIN),
        (answer_http, Answer.HTTP),
        (partial(answer, b"what?\r\n"), Answer.PLAIN),
        (hang_up, Answer.CLOSED),
    ],
)
async def test_servers_without_tls(serve: Serve, found: Answer) -> None:
    async with listening(serve) as address:
        assert await what_listens(address, 1) is found


@pytest.mark.parametrize(
    ("alpn", "response", "found"),
    [
        ("http/1.1", PAGE % (len(HUB), HUB), Answer.WEB),
        ("http/1.1", PAGE % (5, b"hello"), Answer.OTHER_HTTPS),
        ("http/1.1", PAGE % (2, b"[]"), Answer.OTHER_HTTPS),
        ("http/1.1", REFUSAL, Answer.TLS),
        ("h2", b"", Answer.GRPC),
        ("mezite-tunnel/1", b"", Answer.TUNNEL),
        ("mezite-connect/1", b"", Answer.CONNECT),
        ("http/1.1", b"gibberish\r\n\r\n", Answer.TLS),
    ],
)
async def test_servers_with_tls(alpn: str, response: bytes, found: Answer) -> None:
    async with listening(partial(in_tls, context(alpn), response)) as address:
        assert await what_listens(address, 1) is found


async def test_a_server_whose_tls_refuses_ours() -> None:
    handshake_failure = bytes((21, 3, 3, 0, 2, 2, 40))
    async with listening(partial(answer, handshake_failure)) as address:
        assert await what_listens(address, 1) is Answer.TLS


async def test_a_server_without_tls_that_refuses_it_politely() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        data = await stream.receive_some()
        alert = bytes((21, 3, 3, 0, 2, 2, 40))
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n" if data.startswith(b"GET") else alert)

    async with listening(serve) as address:
        assert await what_listens(address, 1) is Answer.HTTP


async def test_a_server_that_says_nothing() -> None:
    async with listening(say_nothing) as address:
        assert await what_listens(address, 1, knock_seconds=0.2) is Answer.SILENT


async def test_nobody_is_there() -> None:
    with pytest.raises(DialError):
        await what_listens("127.0.0.1:1", 1)
