# SPDX-License-Identifier: Apache-2.0
"""Two small things that run on the demo's node: a web page and a TCP service that answers.

They listen on loopback only, as an internal application would; `msh app login` and `msh ssh -L` are the ways to them.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import attrs
import trio

from mezite.net.accept_loop import Connection, serve_connections
from mezite.net.asgi_types import Receive, Scope, Send
from mezite.net.connection_limits import ConnectionLimiter, ConnectionLimits
from mezite.net.http1_server import serve_http1

__all__ = ["DemoApps", "serve_demo_apps"]

LOOPBACK = "127.0.0.1"
LIMITS = ConnectionLimits(max_connections=64, max_connections_per_ip=64)
"""One person tries it out."""

GREETING = b"This is the demo's TCP service. Every line comes back in capitals.\n"
PAGE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>demo</title>
<body style="font: 1.2rem system-ui; display: grid; place-items: center; min-height: 90vh">
<main><h1>It works</h1><p>This page is served on a node that listens on loopback only.<br>
You reached it through its own outgoing connection to the hub.</p></main></body></html>
"""


@attrs.frozen(kw_only=True)
class DemoApps:
    """Where they listen: ports on 127.0.0.1."""

    web_port: int
    tcp_port: int


async def serve_demo_apps(*, task_status: trio.TaskStatus[DemoApps] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve both until cancelled."""
    limiter = ConnectionLimiter(LIMITS)
    web = await trio.open_tcp_listeners(0, host=LOOPBACK)
    tcp = await trio.open_tcp_listeners(0, host=LOOPBACK)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_serve, web, _handle_web, "demo web", limiter)
        nursery.start_soon(_serve, tcp, _handle_tcp, "demo tcp", limiter)
        task_status.started(DemoApps(web_port=_port(web[0]), tcp_port=_port(tcp[0])))


async def _serve(listeners: Any, handler: Any, name: str, limiter: ConnectionLimiter) -> None:
    await serve_connections(listeners, handler, name=name, limiter=limiter)


def _port(listener: trio.SocketListener) -> int:
    port: int = listener.socket.getsockname()[1]
    return port


async def _handle_web(connection: Connection) -> None:
    connection.established()
    await serve_http1(
        connection.stream,
        _page,
        scheme="http",
        client=connection.peer_address,
        server=connection.local_address,
    )


async def _page(scope: Scope, _receive: Receive, send: Send) -> None:
    status, body = (200, PAGE) if scope["path"] == "/" else (404, b"there is only /\n")
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    start: MutableMapping[str, Any] = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def _handle_tcp(connection: Connection) -> None:
    connection.established()
    await connection.stream.send_all(GREETING)
    while data := await connection.stream.receive_some():
        await connection.stream.send_all(bytes(data).upper())
