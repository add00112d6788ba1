# SPDX-License-Identifier: Apache-2.0
"""The WebSockets of the web port: who gets in, what the echo does, and tunnels inside."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest
import trio
import trio.testing

from mezite.config.schema import ProxyConfig
from mezite.core.mux.connection import ChannelHeader
from mezite.handlers.carried_tunnels import ECHO_MESSAGE_BYTES, ECHO_PATH, ECHO_SECONDS, TUNNEL_PATH
from mezite.handlers.web_sockets import session_token
from mezite.net.http1_client import request
from mezite.net.mux_session import ChannelRejectedError
from mezite.net.tls_stream import TlsStream
from mezite.net.websocket_connection import WebSocketConnection, WebSocketError
from mezite.net.websocket_stream import WebSocketStream
from mezite.net.websocket_upgrade import UpgradeError, open_websocket
from mezite.services.errors import UnauthenticatedError
from mezite.storage.web_sessions import WebSessionKind
from tests.handlers.peers import session_on, user_context
from tests.hub.live_hub import ANYWHERE, PASSWORD, LiveHub, live_hub

CLIENT = "192.0.2.7:50000"
BALANCER = "10.0.0.1:4444"

Headers = list[tuple[str, str]]


@asynccontextmanager
async def web(hub: LiveHub, client: str = CLIENT) -> AsyncIterator[trio.abc.Stream]:
    """A connection to the web port, as if TLS were done."""
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.hub.web.serve, theirs, "https", client, "127.0.0.1:3080")
        yield ours
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def websocket(
    hub: LiveHub, path: str, headers: Headers | None = None, client: str = CLIENT
) -> AsyncIterator[WebSocketConnection]:
    async with web(hub, client) as stream:
        yield await open_websocket(stream, "localhost", path, headers=headers or [])


async def session(hub: LiveHub, kind: WebSessionKind = WebSessionKind.API) -> str:
    if not await hub.hub.ground.accounts.list_users():
        await hub.hub.ground.accounts.create("alice", roles=(), traits={}, password=PASSWORD, by="test")
    started = await hub.hub.ground.login.with_password("alice", PASSWORD, client_address=CLIENT, kind=kind)
    return started.token.reveal()


async def refusal(hub: LiveHub, path: str, headers: Headers) -> int:
    async with web(hub) as stream:
        with pytest.raises(UpgradeError) as refused:
            await open_websocket(stream, "localhost", path, headers=headers)
    return refused.value.status


async def test_the_echo_and_who_may_use_it(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        token, in_browser = await session(hub), await session(hub, WebSessionKind.WEB)
        mine, own = f"mezite_session={in_browser}", ("origin", "https://localhost")
        cookie = ("cookie", f"a=b; {mine}")
        for headers in ([("authorization", f"Bearer {token}")], [cookie, own]):
            async with websocket(hub, ECHO_PATH, headers) as connection:
                for message in ("hello", b"\x00\xff", "x" * ECHO_MESSAGE_BYTES):
                    await connection.send(message)
                    assert await connection.receive_message(ECHO_MESSAGE_BYTES) == message
                await connection.send("x" * (ECHO_MESSAGE_BYTES + 1))
                with pytest.raises(WebSocketError, match="larger than 65536 bytes") as told:
                    await connection.receive()
                assert told.value.code == 1009
        nobody: list[Headers] = [[], [("authorization", "Bearer nonsense")], [cookie]]
        # Threat D11: another site's page has the cookie, but not our origin.
        nobody += [
            [cookie, ("origin", other)] for other in ("https://evil.example", "http://localhost", "null")
        ]
        nobody += [[cookie, own, own], [cookie, cookie, own], [("cookie", "mezite_session="), own]]
        # Threat D17: a sibling site's cookie of the same name beside ours, in front of it or behind it.
        nobody += [
            [("cookie", f"{mine}; mezite_session=x"), own],
            [("cookie", f"mezite_session=x; {mine}"), own],
        ]
        nobody.append([cookie, own, ("sec-fetch-site", "same-origin")])
        # A session is good the way it was made for: a program's is none of a browser's, and the other way round.
        nobody += [[("cookie", f"mezite_session={token}"), own], [("authorization", f"Bearer {in_browser}")]]
        for headers in nobody:
            assert await refusal(hub, ECHO_PATH, headers) == 401, headers


async def test_the_echo_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ECHO_SECONDS <= 600
    monkeypatch.setattr("mezite.handlers.carried_tunnels.ECHO_SECONDS", 0.2)
    async with live_hub(tmp_path) as hub:
        headers = [("authorization", f"Bearer {await session(hub)}")]
        async with websocket(hub, ECHO_PATH, headers) as connection:
            assert await connection.receive() is None
        monkeypatch.setattr("mezite.handlers.carried_tunnels.ECHO_SECONDS", 60)
        monkeypatch.setattr("mezite.handlers.carried_tunnels.ECHO_MESSAGES", 1)
        async with websocket(hub, ECHO_PATH, headers) as connection:
            await connection.send("only this")
            assert await connection.receive_message(100) == "only this"
            assert await connection.receive() is None
        async with websocket(hub, ECHO_PATH, headers) as connection:
            await connection.close()


async def test_other_paths_and_plain_requests(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        assert await refusal(hub, "/v1/nothing", []) == 404
        for path in (TUNNEL_PATH, ECHO_PATH):
            async with web(hub) as stream:
                answer = await request(stream, "GET", path, host="localhost")
            assert answer.status == 426
            assert b"pass on the headers Upgrade and Connection" in answer.body


@pytest.mark.parametrize(
    ("headers", "client", "seen"),
    [
        ([], CLIENT, "192.0.2.7"),
        ([("x-forwarded-for", "198.51.100.9")], BALANCER, "198.51.100.9"),
        # Threat D7: from anybody else the header means nothing.
        ([("x-forwarded-for", "198.51.100.9")], CLIENT, "192.0.2.7"),
    ],
)
async def test_a_tunnel_and_the_address_of_its_client(
    tmp_path: Path, headers: Headers, client: str, seen: str
) -> None:
    proxy = ProxyConfig(
        listen_addr=ANYWHERE,
        ssh_listen_addr=ANYWHERE,
        tunnel_listen_addr=ANYWHERE,
        trusted_ip_header="X-Forwarded-For",
        trusted_ip_header_cidrs=(ip_network("10.0.0.0/8"),),
    )
    async with live_hub(tmp_path, proxy=proxy) as hub:
        _current, profile = await hub.user()
        async with websocket(hub, TUNNEL_PATH, headers, client) as connection:
            inner = TlsStream(WebSocketStream(connection), user_context(profile), server_side=False)
            await inner.do_handshake()
            async with session_on(inner) as user:
                with pytest.raises(ChannelRejectedError, match="node nosuch: not found"):
                    await user.open_channel(ChannelHeader(kind="ssh", target="nosuch"))
        (event,) = await hub.audited("access.denied")
        assert json.loads(event)["client_ip"] == seen


async def drain(connection: WebSocketConnection) -> None:
    while await connection.receive():
        pass


async def test_garbage_in_a_tunnels_websocket(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        async with websocket(hub, TUNNEL_PATH) as connection:
            await connection.send(b"GET / HTTP/1.1\r\n\r\n")
            with pytest.raises(trio.BrokenResourceError):
                await drain(connection)
        async with websocket(hub, TUNNEL_PATH) as connection:
            await connection.send("text")
            with pytest.raises(WebSocketError) as told:
                await connection.receive()
            assert told.value.code == 1003


def test_a_header_that_is_no_text_is_no_session() -> None:
    for name, value in (
        (b"authorization", b"Bearer"),
        (b"authorization", b"Basic x"),
        (b"cookie", b"\xff=\xfe"),
    ):
        with pytest.raises(UnauthenticatedError):
            session_token({"headers": [(name, value)], "scheme": "wss"})
