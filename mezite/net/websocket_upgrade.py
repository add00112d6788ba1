# SPDX-License-Identifier: Apache-2.0
"""The upgrade from HTTP/1.1 to a WebSocket (RFC 6455 section 4), from both sides."""

from __future__ import annotations

import re
from collections.abc import Sequence

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import AcceptConnection, RejectConnection, Request
from wsproto.utilities import LocalProtocolError as WsLocalError
from wsproto.utilities import RemoteProtocolError as WsRemoteError
from wsproto.utilities import generate_accept_token

from mezite.core.errors import RemoteProtocolError
from mezite.core.http1.request_head import RequestHead

from .websocket_connection import WebSocketConnection

__all__ = ["UpgradeError", "check_upgrade", "open_websocket", "switching_response", "wants_websocket"]

KEY = re.compile(rb"[+/0-9A-Za-z]{22}==")

READ_BYTES = 4096

#: Bytes of a response's head; a refusal's body is not read.
MAX_ANSWER_BYTES = 32 * 1024


class UpgradeError(Exception):
    """There is no WebSocket; ``status`` is the HTTP status, 0 when there was no usable answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def wants_websocket(head: RequestHead) -> bool:
    """Whether a request asks for a WebSocket, well or badly."""
    return b"upgrade" in head.tokens(b"connection") and b"websocket" in head.tokens(b"upgrade")


def check_upgrade(head: RequestHead) -> None:
    """Refuse a request for a WebSocket that RFC 6455 section 4.2.1 does not allow.

    Raises :exc:`RemoteProtocolError` with the HTTP status as its code.
    """
    fields = [name for name, _ in head.fields]
    if any(token.startswith(b"sec-websocket-") for token in head.tokens(b"connection")):
        # Whoever passes it on would leave out the key (RFC 9110 section 7.6.1), and could not check the answer.
        raise RemoteProtocolError("Connection names a field of the WebSocket", 400)
    if head.method != b"GET" or head.minor_version != 1 or head.content_length or head.chunked:
        raise RemoteProtocolError("a WebSocket is asked for with GET, HTTP/1.1 and no body", 400)
    if head.field(b"sec-websocket-version") != b"13" or fields.count(b"sec-websocket-version") != 1:
        raise RemoteProtocolError("the only version of WebSocket spoken here is 13", 426)
    key = head.field(b"sec-websocket-key") or b""
    if KEY.fullmatch(key) is None or fields.count(b"sec-websocket-key") != 1:
        raise RemoteProtocolError("there is no Sec-WebSocket-Key of 16 bytes in Base64", 400)


def switching_response(head: RequestHead) -> bytes:
    """The answer that accepts a request which :func:`check_upgrade` has let pass."""
    token = generate_accept_token(head.field(b"sec-websocket-key") or b"")
    lines = (
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + token,
    )
    return b"\r\n".join((*lines, b"", b""))


async def open_websocket(
    stream: trio.abc.Stream,
    host: str,
    path: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
    deadline_seconds: float = 15,
) -> WebSocketConnection:
    """Ask the HTTP server on ``stream`` for a WebSocket at ``path``; the result owns ``stream``.

    Raises :exc:`UpgradeError`, and leaves the stream closed then and when cancelled.
    """
    try:
        with trio.move_on_after(deadline_seconds):
            return await _upgrade(stream, host, path, headers)
        raise UpgradeError(0, f"no answer to the request for a WebSocket within {deadline_seconds:g} s")
    except BaseException as error:
        await trio.aclose_forcefully(stream)
        if isinstance(error, WsLocalError | WsRemoteError):
            raise UpgradeError(
                0, f"the answer to the request for a WebSocket is malformed: {error}"
            ) from error
        if isinstance(error, trio.BrokenResourceError):
            raise UpgradeError(0, f"the connection broke: {error}") from error
        raise


async def _upgrade(
    stream: trio.abc.Stream, host: str, path: str, headers: Sequence[tuple[str, str]]
) -> WebSocketConnection:
    protocol = WSConnection(ConnectionType.CLIENT)
    extra = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
    await stream.send_all(protocol.send(Request(host=host, target=path, extra_headers=extra)))
    received = 0
    while protocol.state is ConnectionState.CONNECTING:
        data = await stream.receive_some(READ_BYTES)
        received += len(data)
        if not data or received > MAX_ANSWER_BYTES:
            raise UpgradeError(0, "the connection ended, or went on and on, without an answer")
        protocol.receive_data(bytes(data))
        for event in protocol.events():
            if isinstance(event, RejectConnection):
                raise UpgradeError(event.status_code, f"it answered with status {event.status_code}")
            if isinstance(event, AcceptConnection):
                return _taken_over(stream, protocol, event)
    raise UpgradeError(0, "there was no answer")


def _taken_over(
    stream: trio.abc.Stream, protocol: WSConnection, accepted: AcceptConnection
) -> WebSocketConnection:
    """Go on with a connection of our own; what came behind the answer is in wsproto's."""
    if accepted.subprotocol is not None or accepted.extensions:
        raise UpgradeError(0, "the server chose an extension or protocol that was not offered")
    if protocol.connection is None:
        raise AssertionError("wsproto has a connection once it has accepted")
    return WebSocketConnection(stream, protocol.connection)
