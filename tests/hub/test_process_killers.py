# SPDX-License-Identifier: Apache-2.0
"""Inputs of one anonymous connection that end a whole Hypercorn process, at the ports of a hub (threats P3, D12).

Each test is named for what it kills. A client that was there before is served afterwards on its old connection, and a
new one is; the hub's own nurseries end the test if anything but cancellation leaves a connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame

from mezite.net.tls_contexts import unverified_client_context
from mezite.net.tls_stream import TlsStream
from tests.handlers.peers import dial_tls
from tests.hub.live_hub import LiveHub, live_hub
from tests.net.http2_peers import FramePeer

PING = b"GET /v1/webapi/ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
POST = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"hub")]
GRPC = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
HEALTH = [*POST, (b":path", b"/grpc.health.v1.Health/Check"), *GRPC]
UNKNOWN = [*POST, (b":path", b"/no.Such/Method"), *GRPC]
EMPTY_MESSAGE = bytes(5)
ANSWERED = ("0", "8")
"""OK, or RESOURCE_EXHAUSTED: strangers may ask so often and no more."""
GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class Bystander:
    """A client that does nothing wrong and wants its answers."""

    def __init__(self, web: TlsStream, api: FramePeer) -> None:
        self.web = web
        self.api = api
        self._stream_id = -1

    async def is_served(self) -> None:
        with trio.fail_after(20):
            await self.web.send_all(PING)
            answer = bytearray()
            while not answer.rstrip().endswith(b"}"):
                answer += await self.web.receive_some()
            assert answer.startswith(b"HTTP/1.1 200")
            self._stream_id += 2
            await self.api.request(self._stream_id, HEALTH)
            await self.api.send(DataFrame(self._stream_id, data=EMPTY_MESSAGE, flags=["END_STREAM"]))
            assert await grpc_status(self.api, self._stream_id) in ANSWERED


async def grpc_status(peer: FramePeer, stream_id: int) -> str | None:
    """How a call ended; None when the connection did."""
    while (frame := await peer.receive()) is not None:
        if isinstance(frame, HeadersFrame):
            fields = dict(peer.decoder.decode(frame.data))
            if frame.stream_id == stream_id and "END_STREAM" in frame.flags:
                return fields.get("grpc-status", fields.get(":status"))
        elif isinstance(frame, GoAwayFrame):
            return None
    return None


@asynccontextmanager
async def api_peer(hub: LiveHub) -> AsyncIterator[FramePeer]:
    async with await dial_tls(hub.address("auth"), unverified_client_context(("h2",))) as stream:
        peer = FramePeer(stream)
        await peer.start()
        yield peer


@asynccontextmanager
async def bystander(hub: LiveHub) -> AsyncIterator[Bystander]:
    web = await dial_tls(hub.address("web"), unverified_client_context(("http/1.1",)))
    async with web, api_peer(hub) as api:
        other = Bystander(web, api)
        await other.is_served()
        yield other


async def survives(folder: Path, attack: Callable[[LiveHub], Awaitable[None]]) -> None:
    async with live_hub(folder) as hub:
        async with bystander(hub) as other:
            with trio.fail_after(60), suppress(*GONE):
                await attack(hub)
            await other.is_served()
        async with bystander(hub):
            pass


async def test_websocket_upgrade_with_a_trailing_byte(tmp_path: Path) -> None:
    """h11 LocalProtocolError in Hypercorn (its issue 225)."""

    async def attack(hub: LiveHub) -> None:
        for trailing in (b"x", b"\x81", PING, bytes(5000)):
            stream = await dial_tls(hub.address("web"), unverified_client_context(("http/1.1",)))
            async with stream:
                await stream.send_all(UPGRADE + trailing)
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 ")

    await survives(tmp_path, attack)


async def test_data_after_the_response_ended(tmp_path: Path) -> None:
    """KeyError in Hypercorn (its issue 329): a POST that is answered early, and goes on. Other streams live."""

    async def attack(hub: LiveHub) -> None:
        async with api_peer(hub) as peer:
            await peer.request(1, UNKNOWN)
            assert await grpc_status(peer, 1) == "12"
            for _ in range(5):
                await peer.send(DataFrame(1, data=b"x" * 100))
            await peer.send(DataFrame(1, data=b"", flags=["END_STREAM"]))
            await peer.request(3, HEALTH)
            await peer.send(DataFrame(3, data=EMPTY_MESSAGE, flags=["END_STREAM"]))
            assert await grpc_status(peer, 3) in ANSWERED

    await survives(tmp_path, attack)


async def test_connect_without_a_path(tmp_path: Path) -> None:
    """UnboundLocalError in Hypercorn."""

    async def attack(hub: LiveHub) -> None:
        async with api_peer(hub) as peer:
            await peer.request(1, [(b":method", b"CONNECT"), (b":authority", b"hub")], "END_STREAM")
            assert await grpc_status(peer, 1) in (None, "405")

    await survives(tmp_path, attack)


@pytest.mark.parametrize("field", [b":path", b":method", b":authority", b":scheme"])
async def test_a_byte_of_0xff_in_a_pseudo_field(tmp_path: Path, field: bytes) -> None:
    """UnicodeDecodeError in Hypercorn, for the path and the method."""

    async def attack(hub: LiveHub) -> None:
        async with api_peer(hub) as peer:
            fields = [(name, b"/\xff" if name == field else value) for name, value in HEALTH]
            await peer.request(1, sorted(fields, key=lambda pair: not pair[0].startswith(b":")), "END_STREAM")
            assert await grpc_status(peer, 1) in (None, "400", "405", "13")

    await survives(tmp_path, attack)


async def test_a_thousand_requests_with_trailers(tmp_path: Path) -> None:
    """TooManyStreamsError in Hypercorn: the priority tree leaks a stream for each answer with trailers."""

    async def attack(hub: LiveHub) -> None:
        async with api_peer(hub) as peer:
            for number in range(1100):
                stream_id = 2 * number + 1
                await peer.request(stream_id, HEALTH)
                await peer.send(DataFrame(stream_id, data=EMPTY_MESSAGE))
                trailers = peer.encoder.encode([(b"x-trailer", b"1")])
                await peer.send(HeadersFrame(stream_id, data=trailers, flags=["END_HEADERS", "END_STREAM"]))
                assert await grpc_status(peer, stream_id) in ANSWERED

    await survives(tmp_path, attack)
