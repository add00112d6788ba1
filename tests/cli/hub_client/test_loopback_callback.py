# SPDX-License-Identifier: Apache-2.0
"""The one answer that a browser may bring (threat D20)."""

import trio

from mezite.cli.hub_client.loopback_callback import MAX_CONNECTIONS, open_loopback_callback
from mezite.core.oidc.return_path import is_loopback_callback
from mezite.net.http1_client import request

CODE = "0123456789abcdef" * 4


async def ask(callback, target=None, *, method="GET", host=None, headers=()):
    stream = await trio.open_tcp_stream("127.0.0.1", callback.port)
    try:
        wanted = f"{callback.path}?code={CODE}" if target is None else target
        return await request(stream, method, wanted, headers, host=host or f"127.0.0.1:{callback.port}")
    finally:
        await trio.aclose_forcefully(stream)


async def test_a_code_comes_once():
    async with open_loopback_callback() as callback:
        assert is_loopback_callback(callback.url)
        response = await ask(callback, headers=[("accept", "text/html")])
        assert (response.status, b"You can close this window" in response.body) == (200, True)
        assert await callback.wait() == CODE
        assert (await ask(callback)).status == 404


async def test_what_is_not_the_code():
    async with open_loopback_callback() as callback:
        path = callback.path
        for target in (
            "/",
            f"/?code={CODE}",
            f"{path}x?code={CODE}",
            path,
            f"{path}?code=",
            f"{path}?code={CODE[:-1]}",
            f"{path}?code={CODE.upper()}",
            f"{path}?code={CODE}&code={CODE}",
        ):
            assert (await ask(callback, target)).status == 404, target
        assert (await ask(callback, method="POST")).status == 404
        for host in ("localhost", "evil.example", f"localhost:{callback.port}", "127.0.0.1:1"):
            assert (await ask(callback, host=host)).status == 404, host
        assert not callback.arrived.is_set()
        assert (await ask(callback)).status == 200


async def test_connections_are_few():
    async with open_loopback_callback() as callback:
        held = [await trio.open_tcp_stream("127.0.0.1", callback.port) for _ in range(MAX_CONNECTIONS)]
        for stream in held:
            # Served up to here: each has its place.
            await stream.send_all(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{callback.port}\r\n\r\n".encode())
            assert (await stream.receive_some(65536)).startswith(b"HTTP/1.1 404")
        one_more = await trio.open_tcp_stream("127.0.0.1", callback.port)
        try:
            said = await one_more.receive_some(1)
        except trio.BrokenResourceError:
            said = b""
        assert said == b""
        for stream in (*held, one_more):
            await trio.aclose_forcefully(stream)
