# SPDX-License-Identifier: Apache-2.0
"""The gRPC port: its four kinds of client, and what it tells the others (threats D13, F3)."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, SettingsFrame
from trio.testing import MockClock, memory_stream_pair

from mezite.api.dialing import connect_api
from mezite.api.pb.mezite.v1 import auth_pb2
from mezite.config.schema import AuthConfig
from mezite.handlers.ports.grpc_port import FIRST_WORDS_SECONDS, GrpcPort
from mezite.net.accept_loop import Connection
from mezite.net.byte_streams import PushbackStream
from mezite.net.dialer import dial
from mezite.net.tls_contexts import server_context, unverified_client_context
from mezite.net.tls_stream import TlsStream
from mezite.testing.self_signed import self_signed_pem
from tests.handlers.peers import dial_tls, read_all
from tests.hub.live_hub import ANYWHERE, LiveHub, live_hub
from tests.net.http2_peers import FramePeer
from tests.net.test_h2c_entrance import SWITCHING, upgrade_head

GET = b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n"
CA = "/mezite.v1.AuthService/GetClusterCa"
CLEARTEXT = AuthConfig(listen_addr=ANYWHERE, grpc_allow_http=True)


async def heard(hub: LiveHub, data: bytes) -> bytes:
    """The answer to those bytes without TLS."""
    async with await dial(hub.address("auth"), 1) as stream:
        with trio.fail_after(10):
            await stream.send_all(data)
            return await read_all(stream)


async def cluster_name(hub: LiveHub, context: ssl.SSLContext | None) -> str:
    async with connect_api(hub.address("auth"), context) as client:
        answer = await client.unary(CA, auth_pb2.GetClusterCaRequest(), auth_pb2.GetClusterCaResponse)
        return answer.cluster_name


async def test_a_port_that_wants_tls_says_so(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        answer = await heard(hub, GET)
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"MEZITE_GRPC_ALLOW_HTTP=true" in answer
        assert b"gRPC port" in answer
        async with await dial(hub.address("auth"), 1) as stream:
            peer = FramePeer(stream)
            await peer.start()
            goaway = await peer.receive_a(GoAwayFrame)
            assert goaway.error_code == ErrorCodes.INADEQUATE_SECURITY
            assert b"MEZITE_GRPC_ALLOW_HTTP=true" in goaway.additional_data
            assert await peer.receive() is None
        assert await heard(hub, upgrade_head()) == await heard(hub, GET), "no upgrade either"
        assert await heard(hub, b"SSH-2.0-OpenSSH\r\n") == b""


async def test_a_port_without_tls_serves_http2_and_explains_itself_to_http1(tmp_path: Path) -> None:
    async with live_hub(tmp_path, auth=CLEARTEXT) as hub:
        assert await cluster_name(hub, None) == "test"
        assert await cluster_name(hub, unverified_client_context(("h2",))) == "test"
        answer = await heard(hub, GET)
        assert answer.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
        assert b"\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n" in answer
        assert b"gRPC port" in answer
        assert b"3080" in answer
        assert (await heard(hub, b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")).endswith(b"\r\n\r\n")
        assert (await heard(hub, upgrade_head(b"Upgrade: h2c", settings=()))).startswith(b"HTTP/1.1 400 ")
        assert await heard(hub, b"SSH-2.0-OpenSSH\r\n") == b""


async def test_auth_h2c_allows_the_same(tmp_path: Path) -> None:
    async with live_hub(tmp_path, auth=AuthConfig(listen_addr=ANYWHERE, h2c=True)) as hub:
        assert await cluster_name(hub, None) == "test"


async def test_a_call_by_upgrade(tmp_path: Path) -> None:
    async with live_hub(tmp_path, auth=CLEARTEXT) as hub, await dial(hub.address("auth"), 1) as stream:
        head = upgrade_head(
            b"Content-Type: application/grpc",
            b"TE: trailers",
            b"Content-Length: 5",
            line=f"POST {CA} HTTP/1.1".encode(),
        )
        with trio.fail_after(10):
            await stream.send_all(head + bytes(5))
            assert bytes(await stream.receive_some(len(SWITCHING))) == SWITCHING
            peer = FramePeer(stream)
            await peer.start()
            answer = await peer.receive_a(HeadersFrame, stream_id=1)
            assert dict(peer.decoder.decode(answer.data))[":status"] == "200"
            message = auth_pb2.GetClusterCaResponse.FromString(
                (await peer.receive_a(DataFrame, stream_id=1)).data[5:]
            )
            assert message.cluster_name == "test"
            trailers = await peer.receive_a(HeadersFrame, stream_id=1)
            assert ("grpc-status", "0") in peer.decoder.decode(trailers.data)


async def test_clients_that_name_no_protocol_inside_tls(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        async with await dial_tls(hub.address("auth"), unverified_client_context(())) as stream:
            peer = FramePeer(stream)
            await peer.start()
            assert isinstance(await peer.receive(), SettingsFrame)
        async with await dial_tls(hub.address("auth"), unverified_client_context(())) as stream:
            await stream.send_all(upgrade_head())
            answer = await read_all(stream)
            assert answer.startswith(b"HTTP/1.1 505 HTTP Version Not Supported\r\n"), "h2c is for cleartext"
            assert b"gRPC port" in answer
        async with await dial_tls(hub.address("auth"), unverified_client_context(())) as stream:
            await stream.send_all(b"SSH-2.0-OpenSSH\r\n")
            with suppress(trio.BrokenResourceError):
                assert await read_all(stream) == b""


async def test_silence_inside_tls_ends(autojump_clock: MockClock) -> None:
    near, far = memory_stream_pair()
    connection = Connection(
        PushbackStream(near), "192.0.2.1:1", "127.0.0.1:3025", "auth", lambda: None, lambda _ip: None
    )
    context = server_context(*self_signed_pem(), ("h2",))
    port = GrpcPort(context=lambda: context, serve_api=None, allow_cleartext=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(port.handle, connection)
        client = TlsStream(far, unverified_client_context(()), server_side=False)
        await client.do_handshake()
        begin = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()
        assert trio.current_time() - begin == FIRST_WORDS_SECONDS
