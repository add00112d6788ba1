# SPDX-License-Identifier: Apache-2.0
"""Behind each port: the right peers get in, the others cost little and learn nothing (threats C5, F2, P15)."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from mezite.api.dialing import ApiConnectError, connect_api
from mezite.api.pb.mezite.v1 import auth_pb2, nodes_pb2
from mezite.api.rpc import RpcError
from mezite.config.schema import AuthConfig, ProxyConfig
from mezite.handlers.ports.grpc_port import GrpcPort
from mezite.handlers.ports.handshake import HANDSHAKE_SECONDS
from mezite.handlers.ports.ssh_port import SshPort
from mezite.handlers.ports.tls_router import TlsRoute, TlsRouter
from mezite.handlers.ports.tunnel_port import TunnelPort
from mezite.handlers.ports.web_port import WebPort
from mezite.net.accept_loop import Connection
from mezite.net.byte_streams import PushbackStream
from mezite.net.dialer import dial
from mezite.net.http1_client import request
from mezite.net.tls_contexts import client_context, server_context, unverified_client_context
from mezite.net.tls_stream import TlsError, TlsStream
from mezite.testing.self_signed import self_signed_pem
from tests.handlers.peers import agent_context, dial_tls, read_all, user_context
from tests.hub.live_hub import ANYWHERE, LiveHub, live_hub

PING = "/v1/webapi/ping"
GET = b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n"


async def ca(client: object) -> auth_pb2.GetClusterCaResponse:
    return await client.unary(
        "/mezite.v1.AuthService/GetClusterCa", auth_pb2.GetClusterCaRequest(), auth_pb2.GetClusterCaResponse
    )


async def answer_to(address: str, data: bytes) -> bytes:
    """What a peer hears that says this on a plain connection and waits for the end."""
    async with await dial(address, 1) as stream:
        with trio.fail_after(10):
            await stream.send_all(data)
            try:
                return await read_all(stream)
            except trio.BrokenResourceError:
                return b"<reset>"


async def ends(stream: trio.abc.ReceiveStream) -> None:
    """The other side closes, in whatever way, without a word."""
    async with stream:
        with trio.fail_after(10):
            try:
                assert await read_all(stream) == b""
            except trio.BrokenResourceError:
                return


# --- the right peers ----------------------------------------------------------------------------------------


async def _https(hub: LiveHub, roots: list[bytes]) -> TlsStream:
    transport, context = await dial(hub.address("web"), 1), client_context(roots, ("http/1.1",))
    stream = TlsStream(transport, context, server_side=False, server_hostname="localhost")
    await stream.do_handshake()
    return stream


async def test_https(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        roots = [pem.encode() for pem in hub.hub.ground.authorities.host_tls_ca_pem]
        async with await _https(hub, roots) as stream:
            response = await request(stream, "GET", PING, [], b"", host="localhost", max_body=65536)
            assert response.status == 200


async def test_http_behind_a_balancer(tmp_path: Path) -> None:
    proxy = ProxyConfig(
        listen_addr=ANYWHERE, ssh_listen_addr=ANYWHERE, tunnel_listen_addr=ANYWHERE, tls_mode="off"
    )
    async with live_hub(tmp_path, proxy=proxy) as hub, await dial(hub.address("web"), 1) as stream:
        response = await request(stream, "GET", PING, [], b"", host="localhost", max_body=65536)
        assert response.status == 200


async def test_cleartext_beside_tls_on_every_port(tmp_path: Path) -> None:
    """`auth.h2c`: nobody must show a certificate, calls need a credential, tunnels stay mutual (threats F2, F3)."""
    auth = AuthConfig(listen_addr=ANYWHERE, h2c=True)
    async with live_hub(tmp_path, auth=auth) as hub:
        roots = [pem.encode() for pem in hub.hub.ground.authorities.host_tls_ca_pem]
        for stream in (await dial(hub.address("web"), 1), await _https(hub, roots)):
            async with stream:
                response = await request(stream, "GET", PING, [], b"", host="localhost", max_body=65536)
                assert response.status == 200
                response = await request(
                    stream, "GET", "/v1/webapi/nodes", [], b"", host="localhost", max_body=65536
                )
                assert response.status in {401, 404}
        for context in (None, unverified_client_context(("h2",))):
            async with connect_api(hub.address("auth"), context) as client:
                assert (await ca(client)).cluster_name == "test"
                with pytest.raises(RpcError, match="UNAUTHENTICATED"):
                    await client.unary(
                        "/mezite.v1.NodeService/ListNodes",
                        nodes_pb2.ListNodesRequest(),
                        nodes_pb2.ListNodesResponse,
                    )
        for port, alpn in (("tunnel", "mezite-tunnel/1"), ("ssh", "mezite-connect/1")):
            async with await dial_tls(hub.address(port), unverified_client_context((alpn,))) as stream:
                with pytest.raises(TlsError, match="certificate required"):
                    await stream.receive_some()


async def test_diagnostics(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub, await dial(hub.address("diag"), 1) as stream:
        response = await request(stream, "GET", "/healthz", [], b"", host="localhost", max_body=65536)
        assert response.status == 200


async def test_cleartext_grpc_only_where_it_is_configured(tmp_path: Path) -> None:
    async with live_hub(tmp_path / "closed") as hub:
        with pytest.raises(Exception, match=r"lost|closed|end|UNAVAILABLE"):
            async with connect_api(hub.address("auth"), None) as client:
                await ca(client)
    auth = AuthConfig(listen_addr=ANYWHERE, grpc_allow_http=True)
    async with live_hub(tmp_path / "open", auth=auth) as hub:
        async with connect_api(hub.address("auth"), None) as client:
            assert (await ca(client)).cluster_name == "test"
        async with connect_api(hub.address("auth"), unverified_client_context(("h2",))) as client:
            assert (await ca(client)).cluster_name == "test"


async def test_ssh_is_greeted_at_once_when_it_speaks_first(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub, await dial(hub.address("ssh"), 1) as stream:
        await stream.send_all(b"SSH-2.0-test\r\n")
        with trio.fail_after(5):
            assert bytes(await stream.receive_some()).startswith(b"SSH-2.0-")


async def test_ssh_clients_that_wait_for_us_are_greeted_too(tmp_path: Path) -> None:
    """Threat C5."""
    async with live_hub(tmp_path) as hub, await dial(hub.address("ssh"), 1) as stream:
        with trio.fail_after(5):
            assert bytes(await stream.receive_some()).startswith(b"SSH-2.0-")


# --- the others ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", ["tunnel", "web", "ssh"])
async def test_plaintext_gets_nothing_out_of_a_tls_port_but_the_way(tmp_path: Path, port: str) -> None:
    async with live_hub(tmp_path) as hub:
        answer = await answer_to(hub.address(port), GET)
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert f"https://{hub.address('web')}".encode() in answer


async def test_who_ends_early_is_told_nothing(tmp_path: Path) -> None:
    """Health probes connect and close."""
    async with live_hub(tmp_path) as hub:
        for port in ("tunnel", "web"):
            async with await dial(hub.address(port), 1) as stream:
                await stream.send_eof()
                assert await read_all(stream) == b""


@pytest.mark.parametrize("port", ["tunnel", "ssh"])
async def test_our_own_protocols_are_not_taken_for_an_outer_session(
    tmp_path: Path, port: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An agent at the users' port, and the other way round, is told so by an alert."""
    async with live_hub(tmp_path) as hub:
        enrolled = await hub.enroll()
        _current, profile = await hub.user()
        context = user_context(profile) if port == "tunnel" else agent_context(enrolled)
        with caplog.at_level(logging.INFO, "mezite.ports"), pytest.raises(TlsError):
            await dial_tls(hub.address(port), context)
    (record,) = (record for record in caplog.records if record.name == "mezite.ports")
    assert "its protocol is not served here" in record.reason


@pytest.mark.parametrize("port", ["tunnel", "ssh"])
async def test_nobody_without_a_certificate(tmp_path: Path, port: str) -> None:
    """Threat F2."""
    async with live_hub(tmp_path) as hub:
        alpn = ("mezite-tunnel/1",) if port == "tunnel" else ("mezite-connect/1",)
        async with await dial_tls(hub.address(port), unverified_client_context(alpn)) as stream:
            with pytest.raises(TlsError, match="certificate required"):
                await stream.receive_some()


@pytest.mark.parametrize("port", ["tunnel", "ssh"])
async def test_the_two_kinds_of_peer_have_ports_of_their_own(tmp_path: Path, port: str) -> None:
    """Threat F4: an agent's certificate opens nothing for users, and the other way round."""
    async with live_hub(tmp_path) as hub:
        _current, profile = await hub.user()
        enrolled = await hub.enroll()
        context: ssl.SSLContext = user_context(profile, ("mezite-tunnel/1",))
        if port == "ssh":
            context = agent_context(enrolled, ("mezite-connect/1",))
        async with await dial_tls(hub.address(port), context) as stream:
            with pytest.raises(TlsError):
                await stream.receive_some()


async def test_a_grpc_client_at_another_port_is_told(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        with pytest.raises(ApiConnectError, match="gRPC"):
            async with connect_api(hub.address("web"), unverified_client_context(("h2",))):
                pass


# --- peers that say nothing, on a clock that jumps ----------------------------------------------------------


@attrs.define
class Silence:
    """A connection whose peer never speaks."""

    lifted: int = 0

    def lift(self) -> None:
        self.lifted += 1

    def connection(self) -> Connection:
        near, _far = memory_stream_pair()
        return Connection(
            PushbackStream(near),
            "192.0.2.1:1",
            "127.0.0.1:3024",
            "tunnel",
            self.lift,
            lambda _client_ip: None,
        )


def a_context() -> ssl.SSLContext:
    return server_context(*self_signed_pem(), ("h2",))


def test_the_silent_connection_counts_what_lifts_it() -> None:
    silence = Silence()
    connection = silence.connection()
    connection.established()
    assert (silence.lifted, connection.listener) == (1, "tunnel")
    assert connection.identify("198.51.100.1:1") is None


async def test_a_handshake_has_a_deadline(autojump_clock: MockClock) -> None:
    """It ends as a peer that went away does, which the accept loop takes for no news."""
    silence = Silence()
    door = TlsRouter(routes=(TlsRoute(alpn=("h2",), context=a_context, serve=None),))
    for handler in (
        TunnelPort(router=door, wrong_door=None),
        WebPort(router=door, cleartext=False, front=None, wrong_door=None),
    ):
        begin = trio.current_time()
        with pytest.raises(trio.BrokenResourceError, match="no TLS handshake within 10 s"):
            await handler.handle(silence.connection())
        assert trio.current_time() - begin == HANDSHAKE_SECONDS
    assert silence.lifted == 0, "nobody is established before the handshake"


async def test_who_says_nothing_at_all_stays_under_the_accept_loops_deadline(
    autojump_clock: MockClock,
) -> None:
    silence = Silence()
    handler = GrpcPort(context=a_context, serve_api=None, allow_cleartext=True)
    with trio.move_on_after(60) as scope:
        await handler.handle(silence.connection())
    assert scope.cancelled_caught
    assert silence.lifted == 0


async def test_silence_at_the_ssh_port_is_ssh(autojump_clock: MockClock) -> None:
    """Threat C5."""
    asked: list[str] = []

    class Jump:
        async def serve(self, _stream: object, address: str, _established: object) -> None:
            asked.append(address)
            await trio.lowlevel.checkpoint()

    begin = trio.current_time()
    await SshPort(router=None, jump=Jump(), wrong_door=None).handle(Silence().connection())
    assert asked == ["192.0.2.1:1"]
    assert trio.current_time() - begin == 1


async def test_the_front_is_closed_by_draining(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub, await _kept_alive(hub) as stream:
        hub.stop.set()
        await ends(stream)


async def _kept_alive(hub: LiveHub) -> trio.SocketStream:
    """An idle connection to the diagnostics that has been used once."""
    stream = await dial(hub.address("diag"), 1)
    await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = b""
    while not answer.endswith(b"\r\n\r\nok\n"):
        answer += await stream.receive_some()
    return stream
