# SPDX-License-Identifier: Apache-2.0
"""Applications that speak HTTP/2 in the clear: ``h2c://``."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest
import trio

from mezite.net.app_upstream import UpstreamError
from mezite.net.app_upstream_http2 import response_head
from mezite.net.http2_request import RequestHead
from mezite.net.http2_server import Http2ServerConnection
from mezite.net.http2_stream import Http2Stream
from tests.handlers.app_front import GET, HOST, ServeApp, make_app, open_site, read_all
from tests.handlers.test_app_http import parts
from tests.handlers.test_app_websocket import ASK

H2C = make_app("h2c://10.0.3.12:3000/base")
Handle = Callable[[RequestHead, Http2Stream], Awaitable[None]]


def speaking(handle: Handle) -> ServeApp:
    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        await Http2ServerConnection(stream, handle).run()

    return serve


async def echo(head: RequestHead, stream: Http2Stream) -> None:
    body = b""
    while data := await stream.receive_some():
        body += data
    stream.send_headers([(b":status", b"203"), (b"x-own", b"1"), (b"x-mezite-user", b"root")])
    told = f"{head.method} {head.path}?{head.query} {head.authority} {dict(head.fields).get(b'x-mezite-user', b'')!r} "
    if head.method != "HEAD":
        await stream.send_data(told.encode() + body)
    stream.end([(b"x-mezite-user", b"root")])


async def test_requests_one_after_the_other() -> None:
    async with open_site(speaking(echo), H2C) as site:
        raw = await site.ask(
            GET.replace(b"GET / ", b"GET /a?b ").replace(b"\r\n\r\n", b"\r\nX_Mezite_User: root\r\n\r\n")
        )
        status, fields, body = parts(raw)
        assert (status, fields[b"x-own"]) == (203, b"1")
        assert b"GET /base/a?b wiki.apps.example b''" in body
        assert b"root" not in raw  # D4, D5: neither what the client says nor what trailers do
        for framing in (
            b"Content-Length: 4\r\n\r\nBODY",
            b"Transfer-Encoding: chunked\r\n\r\n4\r\nBODY\r\n0\r\n\r\n",
        ):
            assert b"BODY" in await site.ask(b"POST / HTTP/1.1\r\n" + HOST + framing)
        assert parts(await site.ask(GET.replace(b"GET", b"HEAD")))[2] == b""
        assert (site.dialed.count, len(site.proxy.pool)) == (1, 1)


async def test_a_stream_in_both_directions() -> None:
    async def handle(_head: RequestHead, stream: Http2Stream) -> None:
        stream.send_headers([(b":status", b"200")])
        while data := await stream.receive_some():
            await stream.send_data(b"<" + data + b">")
        stream.end()

    async with open_site(speaking(handle), H2C) as site, await site.connect() as browser:
        await browser.send_all(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 200000\r\n\r\n")
        got = b""
        while b"\r\n\r\n" not in got:
            got += await browser.receive_some()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(browser.send_all, b"a" * 200_000)
            while got.count(b"a") < 200_000 + got.partition(b"\r\n\r\n")[0].count(b"a"):
                got += await browser.receive_some()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_server_that_gives_up(when: str) -> None:
    async def handle(_head: RequestHead, stream: Http2Stream) -> None:
        if when == "after":
            stream.send_headers([(b":status", b"200")])
            await stream.send_data(b"part")
        stream.reset(2)

    async with open_site(speaking(handle), H2C) as site:
        raw = await site.ask(GET.replace(b"GET", b"POST"))
        if when == "before":
            assert raw.startswith(b"HTTP/1.1 502 ")
        assert not raw.endswith(b"0\r\n\r\n")
        assert site.last().error
        assert len(site.proxy.pool) == 0


async def test_a_server_that_speaks_something_else() -> None:
    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with open_site(serve, H2C) as site:
        assert (await site.ask()).startswith(b"HTTP/1.1 502 ")


async def test_no_websockets_there() -> None:
    async with open_site(speaking(echo), H2C) as site, await site.connect() as browser:
        await browser.send_all(ASK)
        raw = await read_all(browser)
        assert raw.startswith(b"HTTP/1.1 502 ")
        assert "use http://" in json.loads(raw.partition(b"\r\n\r\n")[2])["error"]["message"]


@pytest.mark.parametrize(
    "block",
    [
        [],
        [(b":status", b"101")],
        [(b":status", b"200"), (b":status", b"200")],
        [(b":status", b"200"), (b"a b", b"c")],
        [(b":status", b"200"), (b"a", b"b\r\nc: d")],
        [(b":status", b"200"), (b"content-length", b"1"), (b"content-length", b"2")],
    ],
)
def test_what_cannot_be_written_into_http_1(block: list[tuple[bytes, bytes]]) -> None:
    """D3."""
    with pytest.raises(UpstreamError):
        response_head(block)
