# SPDX-License-Identifier: Apache-2.0
"""Requests for WebSockets, offered to an ASGI application.

The scope is that of ASGI's ``websocket``, so whatever routes by host or finds out the client's address works as for
other requests. To accept, the application awaits ``scope["extensions"]["mezite.websocket"]()``, which gives it the
connection itself: no message passes through ASGI, and back-pressure is that of the stream. To refuse, it answers with
``websocket.http.response.start`` and ``.body``, or with ``websocket.close`` for a plain 403.

An application that passes WebSockets on to another server awaits ``scope["extensions"]["mezite.upgrade"](response)``
instead: it sends these bytes, the head of a 101 that answers the client's own key, and gives the bare stream and what
the client has sent behind its request. From then on the bytes are the application's to carry; it closes the stream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio
from wsproto.connection import Connection, ConnectionType

from .asgi_types import ASGIApp, Message, Receive, Scope, Send
from .http1_exchange import Http1Exchange
from .websocket_connection import WebSocketConnection
from .websocket_upgrade import switching_response

__all__ = ["ACCEPT", "UPGRADE", "Accept", "Upgrade", "WebSocketOffer"]

ACCEPT: Final = "mezite.websocket"
"""The name of the extension in the scope."""

Accept = Callable[[], Awaitable[WebSocketConnection]]
"""Sends the 101 and gives the connection; may be called once. Raises :exc:`trio.BrokenResourceError`."""

UPGRADE: Final = "mezite.upgrade"
"""The name of the extension for those who pass WebSockets on."""

Upgrade = Callable[[bytes], Awaitable[tuple[trio.abc.Stream, bytes]]]
"""Sends the head of a 101 and gives the stream and what came already; once. Raises :exc:`trio.BrokenResourceError`."""

REFUSAL = b'{"error": {"message": "this WebSocket is not open to you", "event_id": ""}}\n'


@attrs.frozen
class WebSocketOffer:
    """``app`` for one request that asks well for a WebSocket."""

    app: ASGIApp
    exchange: Http1Exchange

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; the connection is over when it returns."""
        schemes = {"http": "ws", "https": "wss"}
        websocket = {
            **scope,
            "type": "websocket",
            "scheme": schemes.get(scope["scheme"], scope["scheme"]),
            "subprotocols": [],
            "extensions": {
                **scope["extensions"],
                ACCEPT: self._accept,
                UPGRADE: self.exchange.hand_over,
                "websocket.http.response": {},
            },
        }

        async def refuse(message: Message) -> None:
            kind = message["type"]
            if kind == "websocket.close":
                headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(REFUSAL))]
                await send({"type": "http.response.start", "status": 403, "headers": headers})
                await send({"type": "http.response.body", "body": REFUSAL})
            else:
                await send({**message, "type": kind.removeprefix("websocket.")})

        await self.app(websocket, receive, refuse)

    async def _accept(self) -> WebSocketConnection:
        stream, rest = await self.exchange.hand_over(switching_response(self.exchange.head))
        return WebSocketConnection(stream, Connection(ConnectionType.SERVER, [], rest))
