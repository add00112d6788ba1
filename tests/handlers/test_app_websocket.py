# SPDX-License-Identifier: Apache-2.0
"""WebSockets to an application: bytes both ways after a 101 that is right, and nothing on trust (D5, D10)."""

from __future__ import annotations

import json

import pytest
import trio
import trio.testing

from mezite.handlers import app_websocket
from mezite.net.websocket_upgrade import UpgradeError, open_websocket
from tests.handlers.app_front import HOST, ServeApp, make_app, open_site, read_all, read_until, saying

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
ASK = (
    b"GET /live?x HTTP/1.1\r\n"
    + HOST
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\nX_Mezite_User: root\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: v1\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Go\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSet-Cookie: a=b\r\n"
    + ACCEPT
    + b"\r\n"
)


def echoing(seen: list[bytes], answer: bytes = SWITCH) -> ServeApp:
    """Switches with the first bytes of its own in the same packet, and gives back what comes."""

    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        got = await read_until(stream, b"\r\n\r\n")
        head, _, early = got.partition(b"\r\n\r\n")
        seen.append(head)
        await stream.send_all(answer + b"<" + early)
        while data := await stream.receive_some():
            await stream.send_all(data)
        await stream.send_all(b">")

    return serve


async def test_bytes_both_ways_after_the_switch() -> None:
    seen: list[bytes] = []
    async with open_site(echoing(seen)) as site:
        async with await site.connect() as browser:
            await browser.send_all(ASK + b"early")
            got = await read_until(browser, b"early")
            head, _, data = got.partition(b"\r\n\r\n")
            assert data == b"<early"
            await browser.send_all(b"\x00late")
            await read_until(browser, b"late", got)
            await browser.send_eof()
            assert (await read_all(browser)).endswith(b">")
        await trio.testing.wait_all_tasks_blocked()
        record = site.last()
        assert (record.method, record.target, record.status) == ("GET", "/live", 101)
        assert (record.bytes_received, record.bytes_sent) == (10, 12)
        assert len(site.proxy.pool) == 0  # D10
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 101 Switching Protocols"
    assert lines[1:] == [
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"set-cookie: a=b",
        ACCEPT.strip().lower()[:20] + ACCEPT.strip()[20:],
    ]
    asked = seen[0].split(b"\r\n")
    assert asked[0] == b"GET /live?x HTTP/1.1"
    assert asked[-2:] == [b"Connection: Upgrade", b"Upgrade: websocket"]
    assert b"sec-websocket-key: " + KEY in asked
    assert b"root" not in seen[0]  # D5: the same builder as for any request


async def test_a_websocket_client_through_it() -> None:
    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        got = await read_until(stream, b"\r\n\r\n")
        key = next(line for line in got.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        accept = app_websocket.generate_accept_token(key.split(b": ")[1])
        head = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        await stream.send_all(head + accept + b"\r\n\r\n\x81\x05hello")
        await read_all(stream)

    async with open_site(serve) as site:
        connection = await open_websocket(await site.connect(), "wiki.apps.example", "/")
        assert await connection.receive_message(100) == "hello"
        await connection.close()


@pytest.mark.parametrize(
    "answer",
    [
        SWITCH.replace(b"s3pP", b"aaaa"),
        SWITCH.replace(ACCEPT, b""),
        SWITCH.replace(ACCEPT, ACCEPT + ACCEPT),
        SWITCH.replace(b"Upgrade: WebSocket\r\n", b""),
        SWITCH.replace(b"Upgrade: WebSocket", b"Upgrade: h2c"),
        SWITCH.replace(b"Connection: keep-alive, Upgrade", b"Connection: close"),
        SWITCH.replace(b"Set-Cookie: a=b", b"Content-Length: 5"),
        SWITCH.replace(b"HTTP/1.1 101", b"HTTP/1.1 099"),
        b"",
    ],
)
async def test_a_wrong_switch_is_no_switch(answer: bytes) -> None:
    """D10: both connections end, and neither serves a next request."""
    async with open_site(saying(answer)) as site:
        async with await site.connect() as browser:
            await browser.send_all(ASK)
            raw = await read_all(browser)
        assert raw.startswith(b"HTTP/1.1 502 ")
        assert raw.count(b"HTTP/1.1 5") == 1
        assert json.loads(raw.partition(b"\r\n\r\n")[2])["error"]["message"].startswith("agent node-1")
        assert len(site.proxy.pool) == 0


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 2\r\n\r\nno", b"Transfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"]
)
async def test_a_refusal_is_a_plain_answer(framing: bytes) -> None:
    """D10: 200, 400, 403: passed on; the next request has a new connection to the application."""
    for status in (b"200", b"400", b"403"):
        refusal = b"HTTP/1.1 " + status + b" No\r\n" + framing
        async with open_site(saying(refusal, refusal)) as site:
            with pytest.raises(UpgradeError) as refused:
                await open_websocket(await site.connect(), "wiki.apps.example", "/")
            assert refused.value.status == int(status)
            await site.ask()
            assert (site.dialed.count, site.last().status) == (2, int(status))


async def test_a_browser_that_goes_before_the_answer() -> None:
    ended = trio.Event()

    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        await read_all(stream)
        ended.set()

    async with open_site(serve) as site:
        async with await site.connect() as browser:
            await browser.send_all(ASK)
            await trio.testing.wait_all_tasks_blocked()
        await ended.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert (site.last().status, bool(site.last().error)) == (0, True)


async def test_a_websocket_that_is_cut() -> None:
    """E14."""
    async with open_site(echoing([])) as site, await site.connect() as browser:
        await browser.send_all(ASK)
        await read_until(browser, b"<")
        site.scopes[0].cancel()
        await read_all(browser)
        await trio.testing.wait_all_tasks_blocked()
        assert (site.last().status, site.last().bytes_sent) == (101, 1)


async def test_an_application_that_ends_it() -> None:
    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        await read_until(stream, b"\r\n\r\n")
        await stream.send_all(SWITCH + b"bye")

    async with open_site(serve) as site, await site.connect() as browser:
        await browser.send_all(ASK)
        assert (await read_until(browser, b"bye")).endswith(b"bye")
        await browser.send_eof()
        assert await read_all(browser) == b""


async def test_silence_ends_it_after_an_hour(autojump_clock: trio.testing.MockClock) -> None:
    async with open_site(echoing([])) as site, await site.connect() as browser:
        await browser.send_all(ASK)
        await read_until(browser, b"<")
        began = trio.current_time()
        assert await read_all(browser) == b""
        assert trio.current_time() - began == pytest.approx(app_websocket.IDLE_SECONDS, abs=5)


async def test_roles_may_want_silence_to_end_it_sooner(autojump_clock: trio.testing.MockClock) -> None:
    async with open_site(echoing([])) as site:
        site.state = {"idle_timeout": 120}
        async with await site.connect() as browser:
            await browser.send_all(ASK)
            await read_until(browser, b"<")
            began = trio.current_time()
            assert await read_all(browser) == b""
        assert trio.current_time() - began == pytest.approx(120, abs=5)


async def test_silence_instead_of_an_answer(autojump_clock: trio.testing.MockClock) -> None:
    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        await read_all(stream)

    async with open_site(serve, make_app()) as site, await site.connect() as browser:
        await browser.send_all(ASK)
        assert (await read_all(browser)).startswith(b"HTTP/1.1 504 ")
