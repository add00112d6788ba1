# SPDX-License-Identifier: Apache-2.0
"""The smuggling corpus through the front and the proxy to real servers (D1 to D8, D10, D13).

Each server writes down every request that it believes to have got. Each of those must be one that was let through:
with the assertion that was made for it, once, the same method and target and as many bytes of body, and with none of
the fields that a client made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast
from urllib.parse import unquote

import attrs
import pytest
import trio

from mezite.core.apps.app import App
from mezite.net.asgi_types import Scope
from mezite.net.mux_channel import MuxChannel
from mezite.services.apps.dialing import AppConnection
from mezite.testing.ports import free_port
from tests.handlers.app_front import Ada, Site, make_app, open_site, read_all, saying
from tests.handlers.app_servers import HTTP2_IN_TLS, SERVERS, Seen, run_server, seen_by
from tests.handlers.smuggling_corpus import PAYLOADS, SENTINEL, UNFINISHED

pytestmark = pytest.mark.e2e

TOKEN = re.compile(r"tok-[1-9][0-9]*-end")


@attrs.frozen
class Server:
    port: int
    log: Path


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """All of them, started at the same time."""
    folder = tmp_path_factory.mktemp("servers")
    with ExitStack() as stack:
        ports = {name: free_port() for name in SERVERS}
        logs = {name: stack.enter_context(run_server(name, port, folder)) for name, port in ports.items()}
        yield {name: Server(ports[name], logs[name]) for name in SERVERS}


@attrs.define(eq=False)
class Guarded:
    """A site whose gate lets everything through and remembers what."""

    site: Site
    server: Server
    passed: dict[str, tuple[str, str]] = attrs.field(factory=dict)
    """Method and target by the assertion that was made for a request."""
    _current: tuple[str, str] = ("", "")

    def note(self, scope: Scope) -> None:
        query = scope["query_string"]
        target = scope["raw_path"] + (b"?" + query if query else b"")
        self._current = scope["method"], target.decode("latin-1")

    def fields(self, *_arguments: object) -> list[tuple[bytes, bytes]]:
        token = f"tok-{len(self.passed) + 1}-end"
        self.passed[token] = self._current
        return [
            (b"Mezite-Jwt-Assertion", token.encode()),
            (b"X-Mezite-User", b"ada"),
            (b"X-Mezite-Roles", b"dev"),
        ]

    async def open(self, _app: App, **_told: str) -> AppConnection:
        stream = await trio.open_tcp_stream("127.0.0.1", self.server.port)
        return AppConnection(stream=cast("MuxChannel", stream), agent_id="id", agent="node-1")


async def wait_listening(port: int) -> None:
    with trio.fail_after(60):
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", port)
            except OSError:
                await trio.sleep(0.05)
            else:
                await stream.aclose()
                return


async def send_payload(site: Site, name: str) -> None:
    """One connection of an attacker, to its end."""
    async with await site.connect() as browser:
        await browser.send_all(PAYLOADS[name] + SENTINEL)
        if name in UNFINISHED:
            await browser.send_eof()
        with trio.move_on_after(20) as patience:
            await read_all(browser)
        assert not patience.cancelled_caught, f"the front waits for more of {name}"


def check(seen: Seen, guarded: Guarded) -> str:
    """The assertion of a request that may be here."""
    assert "root" not in {value.strip() for _, value in seen.fields}
    tokens = seen.values("mezite-jwt-assertion")
    assert len(tokens) == 1
    assert TOKEN.fullmatch(tokens[0])
    method, target = guarded.passed[tokens[0]]
    assert seen.method == method
    assert plain(seen.target) == plain(target)
    assert seen.values("x-mezite-user") == ["ada"]
    assert seen.values("x-mezite-roles") == ["dev"]
    assert seen.values("x-forwarded-for") == ["203.0.113.9"]
    assert seen.values("x-forwarded-proto") == ["https"]
    assert seen.values("host") == seen.values("x-forwarded-host")
    assert re.fullmatch(r"wiki\.apps\.example(:8443)?", seen.values("host")[0])
    for name in ("x-real-ip", "forwarded", "proxy", "http2-settings", "true-client-ip", "trailer", "te"):
        assert seen.values(name) == []
    return tokens[0]


def plain(target: str) -> str:
    """Some servers write down a path as they have decoded it, and without doubled slashes."""
    return unquote(target).replace("//", "/")


def test_the_corpus_is_large_enough() -> None:
    assert len(PAYLOADS) >= 120


@pytest.mark.parametrize("name", SERVERS)
async def test_no_server_sees_what_was_not_let_through(name: str, servers: dict[str, Server]) -> None:
    server = servers[name]
    await wait_listening(server.port)
    app = make_app()
    if name.endswith(HTTP2_IN_TLS):
        app = make_app("https://127.0.0.1", insecure_skip_verify=True)
    async with open_site(saying(), app) as site:
        guarded = Guarded(site, server)
        site.proxy.open = guarded.open  # type: ignore[assignment]
        site.proxy.identity_fields = guarded.fields
        site.identity = Ada()  # type: ignore[assignment]
        site.note = guarded.note
        for payload in PAYLOADS:
            await send_payload(site, payload)
        # Whatever was left on a kept connection would come out now.
        for _ in range(3):
            assert (await site.ask()).startswith(b"HTTP/1.1 200 ")
        records = {record.trace_id: record for record in site.records}
    seen = seen_by(server.log)
    tokens = [check(request, guarded) for request in seen]
    assert len(tokens) == len(set(tokens))
    assert len(tokens) >= 60  # the sentinels and the harmless ones: it did get requests
    for request in seen:
        trace = request.values("traceparent")[0].split("-")[1]
        if request.body is not None and request.body >= 0:
            assert request.body == records[trace].bytes_received
    assert "/smuggled" not in {request.target for request in seen if request.method != "GET"}
