# SPDX-License-Identifier: Apache-2.0
"""A browser as far as a program needs one: cookies for each host, the way through the hub's login, no scripts."""

from __future__ import annotations

import re
import ssl
from typing import Any
from urllib.parse import urlsplit

import attrs
import httpx
import trio
from trio_websocket import WebSocketConnection, wrap_client_stream

from tests.e2e.harness import PASSWORD

NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@attrs.define(eq=False)
class Visitor:
    """All hosts are at one address of the hub's."""

    hub: str
    """``HOST:PORT`` of the hub itself; applications have the same port"""
    verify: ssl.SSLContext
    cookies: dict[str, dict[str, str]] = attrs.field(factory=dict)
    _client: httpx.Client = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        address = f"https://127.0.0.1:{self.port}"
        self._client = httpx.Client(base_url=address, verify=self.verify, timeout=30, trust_env=False)

    @property
    def port(self) -> int:
        return int(self.hub.rpartition(":")[2])

    def fields(self, host: str) -> dict[str, str]:
        kept = "; ".join(f"{name}={value}" for name, value in self.cookies.get(host, {}).items())
        return {"Host": f"{host}:{self.port}"} | ({"Cookie": kept} if kept else {})

    def build(self, method: str, host: str, path: str, **options: Any) -> httpx.Request:
        options["headers"] = self.fields(host) | options.get("headers", {})
        return self._client.build_request(method, path, **options, extensions={"sni_hostname": host})

    def send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        response = self._client.send(request, stream=stream)
        host = request.headers["host"].partition(":")[0]
        for line in response.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies.setdefault(host, {})[name] = value
        return response

    def ask(self, method: str, host: str, path: str, **options: Any) -> httpx.Response:
        return self.send(self.build(method, host, path, **options))

    def log_in(self, user: str) -> None:
        """A session with the hub."""
        login = {"username": user, "password": PASSWORD, "cookie": True}
        self.ask(
            "POST", self.hub.partition(":")[0], "/v1/webapi/login", json=login, headers=self.own_page()
        ).raise_for_status()

    def own_page(self) -> dict[str, str]:
        return {"Origin": f"https://{self.hub}", "Sec-Fetch-Site": "same-origin"}

    def visit(self, host: str, path: str) -> httpx.Response:
        """Open a page of an application for the first time: to the hub, and back to that page with a session."""
        sent_away = self.ask("GET", host, path, headers=NAVIGATION)
        assert sent_away.status_code == 303, sent_away.text
        entry = urlsplit(sent_away.headers["location"])
        assert entry.netloc == self.hub
        page = self.ask("GET", entry.hostname or "", entry.path, headers=NAVIGATION)
        form = re.search(r'action="(https://[^"]+)"[\s\S]+?name="code" value="([0-9a-f]+)"', page.text)
        assert form is not None, page.text
        led_on = self.ask(
            "POST", host, urlsplit(form[1]).path, data={"code": form[2]}, headers=NAVIGATION | self.own_page()
        )
        assert led_on.status_code == 303, led_on.text
        assert led_on.headers["location"] == f"https://{host}:{self.port}{path}"
        return self.ask("GET", host, path, headers=NAVIGATION)

    async def open_socket(self, nursery: trio.Nursery, host: str, path: str) -> WebSocketConnection:
        tcp = await trio.open_tcp_stream("127.0.0.1", self.port)
        tls = trio.SSLStream(tcp, self.verify, server_hostname=host)
        own = [(b"Origin", f"https://{host}:{self.port}".encode())]
        cookie = [
            (b"Cookie", value.encode()) for name, value in self.fields(host).items() if name == "Cookie"
        ]
        return await wrap_client_stream(
            nursery, tls, f"{host}:{self.port}", path, extra_headers=[*own, *cookie]
        )

    def close(self) -> None:
        self._client.close()
