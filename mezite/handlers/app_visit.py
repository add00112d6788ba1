# SPDX-License-Identifier: Apache-2.0
"""One request or WebSocket at an application's host, as the gate sees it."""

from __future__ import annotations

import re
from functools import cached_property

import attrs

from mezite.core.apps.app import App
from mezite.core.cookies import read_cookie
from mezite.core.http1.browser_request import is_for_a_page, leads_somewhere
from mezite.core.http1.host_table import host_name
from mezite.net.addresses import join_host_port
from mezite.net.asgi_answer import answer
from mezite.net.asgi_types import Message, Scope, Send

__all__ = ["COOKIE", "OWN_PATHS", "STATE_COOKIE", "Visit", "asked_host"]

COOKIE = "__Host-mezite_app"
STATE_COOKIE = "__Host-mezite_app_state"
"""The prefix keeps other hosts of the domain, and the application's cookies for all of it, from standing in (D17)."""

OWN_PATHS = "/.mezite/"
"""Below it everything is the hub's, at every application."""

PORT = re.compile(rb":[0-9]{1,5}\Z", re.ASCII)


def asked_host(scope: Scope) -> bytes:
    """The Host field; the front has let one through at most."""
    return next((value for name, value in scope["headers"] if name == b"host"), b"")


@attrs.frozen
class Visit:
    """What was asked, and the way to answer it."""

    app: App
    scope: Scope
    reply: Send
    cors: tuple[tuple[bytes, bytes], ...] = ()
    """What lets the page of another origin read the answer; it replaces what the application says about it."""

    @property
    def is_websocket(self) -> bool:
        """Whether a WebSocket is asked for."""
        return bool(self.scope["type"] == "websocket")

    @cached_property
    def method(self) -> bytes:
        """In capitals; a WebSocket begins with GET."""
        return b"GET" if self.is_websocket else self.scope["method"].encode("ascii")

    @cached_property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """All fields, their names in lower case."""
        return list(self.scope["headers"])

    @cached_property
    def origin(self) -> str:
        """The application's own origin: its name as it is registered, and the port that the browser used, which only
        that knows behind a balancer. Whatever scheme this connection has, browsers came by HTTPS.
        """
        port = PORT.search(asked_host(self.scope))
        shown = "" if port is None or port[0] == b":443" else port[0].decode("ascii")
        return f"https://{host_name(self.app.public_addr.encode('ascii'))}{shown}"

    @cached_property
    def target(self) -> str:
        """The URL that was asked for, to the letter."""
        raw, query = self.scope["raw_path"], self.scope["query_string"]
        return f"{self.origin}{(raw + (b'?' + query if query else b'')).decode('latin-1')}"

    @cached_property
    def client_address(self) -> str:
        """``ip:port``, of the client itself where a trusted balancer names it."""
        return join_host_port(*self.scope["client"])

    @property
    def leads_somewhere(self) -> bool:
        """Whether it may be answered by a redirect to a login."""
        return not self.is_websocket and leads_somewhere(self.method, self.headers)

    def cookie(self, name: str) -> str | None:
        """The value of a cookie of ours; None when there is none, or several (threat D17)."""
        return read_cookie([value for field, value in self.headers if field == b"cookie"], name)

    async def answer(
        self,
        status: int,
        title: str,
        message: str,
        *,
        link: tuple[str, str] | None = None,
        details: dict[str, str] | None = None,
    ) -> None:
        """Answer with a page to a person, and with JSON to a script or a program."""
        scope = self.scope
        if self.is_websocket or not is_for_a_page(self.headers):
            scope = {**scope, "headers": []}
        await answer(
            scope, self.send, status, title, message, link=link, details=details or {}, headers=self.cors
        )

    async def redirect(self, url: str, *cookies: str) -> None:
        """Lead the browser on by GET, with cookies to keep."""
        headers = [
            (b"location", url.encode("latin-1")),
            (b"content-length", b"0"),
            (b"cache-control", b"no-store"),
            (b"referrer-policy", b"no-referrer"),
            *((b"set-cookie", cookie.encode("ascii")) for cookie in cookies),
        ]
        await self.send({"type": "http.response.start", "status": 303, "headers": headers})
        await self.send({"type": "http.response.body", "body": b""})

    async def send(self, message: Message) -> None:
        """ASGI ``send``."""
        await self.reply(message)
