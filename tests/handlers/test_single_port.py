# SPDX-License-Identifier: Apache-2.0
"""Everything on one port: by first bytes, by ALPN, and inside of one outer TLS session."""

from __future__ import annotations

import itertools
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import attrs
import pytest
import trio

from mezite.api.client import ClientOptions, open_api_client
from mezite.api.dialing import connect_api
from mezite.api.pb.mezite.v1 import auth_pb2, nodes_pb2
from mezite.config.kinds import HostPort
from mezite.config.schema import AuthConfig, ProxyConfig
from mezite.net.dialer import dial
from mezite.net.http1_client import request
from mezite.net.tls_contexts import client_context, load_identity, unverified_client_context
from mezite.net.tls_stream import TlsError, TlsStream
from tests.handlers.peers import FakeAgent, agent_context, read_all, serve_quietly, session_on, user_context
from tests.hub.live_hub import ANYWHERE, LiveHub, live_hub

SINGLE = ProxyConfig(listen_addr=ANYWHERE, single_port=True)
OFF = attrs.evolve(SINGLE, tls_mode="off")
PING = "/v1/webapi/ping"
NUMBERS = itertools.count()


@asynccontextmanager
async def single_hub(folder: Path, **changes: object) -> AsyncIterator[LiveHub]:
    async with live_hub(folder, **{"proxy": SINGLE, **changes}) as hub:
        assert set(hub.running.addresses) == {"web", "ssh", "tunnel", "auth", "diag"}
        assert len(set(hub.running.addresses.values())) == 2, "all but diag are one"
        with trio.fail_after(60):
            yield hub


def roots(hub: LiveHub) -> list[bytes]:
    return [pem.encode() for pem in hub.hub.ground.authorities.host_tls_ca_pem]


async def plain(hub: LiveHub) -> trio.SocketStream:
    return await dial(hub.address("web"), 1)


async def in_tls(transport: trio.abc.Stream, context: ssl.SSLContext) -> TlsStream:
    name = "localhost" if context.check_hostname else None
    stream = TlsStream(transport, context, server_side=False, server_hostname=name)
    await stream.do_handshake()
    return stream


async def public(hub: LiveHub, *alpn: str) -> TlsStream:
    return await in_tls(await plain(hub), client_context(roots(hub), alpn))


async def pings(stream: trio.abc.Stream) -> None:
    async with stream:
        answer = await request(stream, "GET", PING, [], b"", host="localhost", max_body=65536)
        assert answer.status == 200


async def greets(stream: trio.abc.Stream, words: bytes) -> None:
    async with stream:
        if words:
            await stream.send_all(words)
        assert bytes(await stream.receive_some()).startswith(b"SSH-2.0-")


async def calls(stream: trio.abc.Stream) -> None:
    async with open_api_client(stream, ClientOptions(authority="hub")) as client:
        answer = await client.unary(
            "/mezite.v1.AuthService/GetClusterCa",
            auth_pb2.GetClusterCaRequest(),
            auth_pb2.GetClusterCaResponse,
        )
        assert answer.cluster_name == "test"


async def tunnels(hub: LiveHub, carry: Callable[[LiveHub], Awaitable[trio.abc.Stream]]) -> None:
    """An agent and a user, each over a stream that `carry` opens for it: who waits for a second is greeted in SSH."""
    registry = hub.hub.services.registry
    number = next(NUMBERS)
    enrolled = await hub.enroll(f"node-{number}")
    _current, profile = await hub.user(f"user-{number}")
    async with trio.open_nursery() as nursery:
        async with session_on(await in_tls(await carry(hub), agent_context(enrolled))) as agent:
            nursery.start_soon(serve_quietly, FakeAgent(agent))
            while registry.find(enrolled.identity.agent_id) is None:
                await registry.wait_tunnel()
            async with session_on(await in_tls(await carry(hub), user_context(profile))) as user:
                await user.wait_round_trip()
        nursery.cancel_scope.cancel()


async def test_every_protocol_in_tls(tmp_path: Path) -> None:
    async with single_hub(tmp_path) as hub:
        await pings(await public(hub, "http/1.1"))
        await pings(await public(hub, "h2", "http/1.1"))
        await pings(await public(hub))
        await calls(await public(hub, "h2"))
        await calls(await public(hub, "mezite-grpc/1", "h2"))
        await calls(await public(hub))
        await tunnels(hub, plain)
        await tunnels(hub, public)
        async with connect_api(hub.address("auth"), unverified_client_context(("h2",))) as client:
            assert client is not None


async def test_ssh_raw_and_in_tls(tmp_path: Path) -> None:
    """Threat C5: also for clients that wait for the greeting."""
    async with single_hub(tmp_path) as hub:
        for words in (b"SSH-2.0-test\r\n", b""):
            await greets(await plain(hub), words)
            await greets(await public(hub), words)


async def test_behind_a_proxy_header(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It comes ahead of everything; a trusted peer that sends none and waits for a greeting still gets it (C5)."""
    header = b"PROXY TCP4 192.0.2.77 192.0.2.1 4711 443\r\n"
    proxy = attrs.evolve(
        SINGLE, proxy_protocol="on", proxy_protocol_trusted_cidrs=(ip_network("127.0.0.1/32"),)
    )
    async with single_hub(tmp_path, proxy=proxy) as hub:
        await greets(await plain(hub), header + b"SSH-2.0-test\r\n")
        await greets(await plain(hub), header)
        await greets(await plain(hub), b"")
        behind = await plain(hub)
        await behind.send_all(header)
        await pings(await in_tls(behind, client_context(roots(hub), ("http/1.1",))))
        behind = await plain(hub)
        with caplog.at_level(logging.INFO, "mezite.ports"):
            await behind.send_all(header + b"GET / HTTP/1.1\r\n\r\n")
            await behind.send_eof()
            assert b"proxy.single_port" in await read_all(behind)
        await behind.aclose()
    (record,) = (record for record in caplog.records if record.name == "mezite.ports")
    assert record.client == "192.0.2.77:4711"


async def test_a_grpc_clients_certificate_counts(tmp_path: Path) -> None:
    async with single_hub(tmp_path) as hub:
        _current, profile = await hub.user()
        context = client_context(roots(hub), ("mezite-grpc/1",))
        load_identity(context, profile.tls_certificate, profile.tls_key)
        stream = await in_tls(await plain(hub), context)
        async with open_api_client(stream, ClientOptions(authority="hub")) as client:
            await client.unary(
                "/mezite.v1.NodeService/ListNodes", nodes_pb2.ListNodesRequest(), nodes_pb2.ListNodesResponse
            )


async def test_nothing_in_the_clear_but_ssh(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with single_hub(tmp_path) as hub:
        for opening, answer in (
            (b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n", b"proxy.single_port"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5), b"proxy.single_port"),
            (b"\x00\x00\x00\x00", b""),
        ):
            async with await plain(hub) as stream:
                await stream.send_all(opening)
                await stream.send_eof()
                with caplog.at_level(logging.INFO):
                    said = await read_all(stream)
                assert answer in said
                assert b"cluster" not in said


async def test_there_is_one_outer_layer(tmp_path: Path) -> None:
    async with single_hub(tmp_path) as hub:
        outer = await public(hub)
        with pytest.raises(TlsError):
            await in_tls(outer, client_context(roots(hub), ("http/1.1",)))
        await trio.aclose_forcefully(outer)


async def test_behind_a_balancer_that_holds_the_tls(tmp_path: Path) -> None:
    async with single_hub(tmp_path, proxy=OFF) as hub:
        await pings(await plain(hub))
        await calls(await plain(hub))
        await greets(await plain(hub), b"SSH-2.0-test\r\n")
        await greets(await plain(hub), b"")
        await tunnels(hub, plain)
        await calls(await public(hub, "h2"))
        for offered in ((), ("http/1.1",)):
            with pytest.raises(TlsError):
                await public(hub, *offered)


async def test_cleartext_beside_tls(tmp_path: Path) -> None:
    auth = AuthConfig(listen_addr=ANYWHERE, h2c=True)
    async with single_hub(tmp_path, auth=auth) as hub:
        await pings(await plain(hub))
        await pings(await public(hub, "http/1.1"))
        await calls(await plain(hub))
        await tunnels(hub, plain)


async def test_without_the_grpc_api(tmp_path: Path) -> None:
    async with live_hub(tmp_path, proxy=SINGLE, auth=AuthConfig(enabled=False)) as hub:
        assert set(hub.running.addresses) == {"web", "ssh", "tunnel", "diag"}
        with trio.fail_after(20):
            await pings(await public(hub, "http/1.1"))
            with pytest.raises(TlsError):
                await public(hub, "mezite-grpc/1")


async def test_where_everything_is_announced(tmp_path: Path) -> None:
    proxy = attrs.evolve(SINGLE, public_addr=HostPort("hub.example", 443))
    async with single_hub(tmp_path, proxy=proxy) as hub:
        advertised = hub.hub.services.addresses.advertised()
        assert {advertised[name] for name in ("web", "ssh", "tunnel", "auth")} == {"hub.example:443"}


async def test_strangers_do_not_take_the_places_of_tunnels(tmp_path: Path) -> None:
    """Threats A11, D14: web and gRPC clients have a third of the single port."""
    async with single_hub(tmp_path, proxy=attrs.evolve(SINGLE, max_connections=9)) as hub:
        held = [await public(hub, "http/1.1") for _ in range(3)]
        for stream in held:
            await stream.send_all(b"GET /v1/webapi/ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await stream.receive_some()
        async with await public(hub, "http/1.1") as late:
            with pytest.raises(trio.BrokenResourceError):
                await read_all(late)
        await greets(await plain(hub), b"SSH-2.0-test\r\n")
        await tunnels(hub, plain)
        await trio.aclose_forcefully(held[0])
        await pings(await public(hub, "http/1.1"))
        for stream in held:
            await trio.aclose_forcefully(stream)
