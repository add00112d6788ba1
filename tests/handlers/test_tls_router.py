# SPDX-License-Identifier: Apache-2.0
"""One TLS door for several protocols: the client's ALPN picks the context, the context decides who gets in."""

from __future__ import annotations

import logging
import ssl
from contextlib import suppress
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from mezite.handlers.ports.handshake import HANDSHAKE_SECONDS
from mezite.handlers.ports.tls_router import TlsRoute, TlsRouter
from mezite.net.accept_loop import Connection
from mezite.net.byte_streams import PushbackStream
from mezite.net.connection_limits import ConnectionLimits
from mezite.net.tls_contexts import server_context, unverified_client_context
from mezite.net.tls_stream import TlsError, TlsStream
from mezite.testing.self_signed import self_signed_pem
from tests.handlers.peers import FakeAgent, agent_context, serve_quietly, session_on, user_context
from tests.hub.live_hub import LiveHub, live_hub

PEER, LOCAL = "192.0.2.7:4711", "192.0.2.1:443"


@attrs.define(eq=False)
class Door:
    """A router with three routes, and what came of a connection."""

    served: list[tuple[str, str | None]] = attrs.field(factory=list)
    lifted: int = 0

    def route(self, name: str, *alpn: str) -> TlsRoute:
        async def serve(stream: TlsStream, connection: Connection) -> None:
            self.served.append((name, stream.alpn))
            connection.established()
            await stream.send_all(name.encode())
            await stream.aclose()

        context = server_context(*self_signed_pem(name), alpn)
        return TlsRoute(alpn=alpn, context=lambda: context, serve=serve)

    def router(self, *, otherwise: bool) -> TlsRouter:
        routes = [
            self.route("agents.example", "mezite-tunnel/1"),
            self.route("grpc.example", "mezite-grpc/1"),
            self.route("web.example", "http/1.1"),
            self.route("h2.example", "h2"),
        ]
        return TlsRouter(routes=routes, otherwise=self.route("other.example") if otherwise else None)

    def lift(self) -> None:
        self.lifted += 1

    def connection(self, stream: trio.abc.Stream) -> Connection:
        return Connection(PushbackStream(stream), PEER, LOCAL, "web", self.lift, lambda _ip: None)


async def hears(client: trio.abc.Stream, offered: tuple[str, ...]) -> bytes:
    """What a client with these protocols is told; it looks at no certificate."""
    context = unverified_client_context(offered)
    stream = TlsStream(client, context, server_side=False, server_hostname="hub.example")
    await stream.do_handshake()
    return b"".join([bytes(chunk) async for chunk in stream])


def hello(offered: tuple[str, ...]) -> bytes:
    """The first thing that a client with these protocols says."""
    outgoing = ssl.MemoryBIO()
    client = unverified_client_context(offered).wrap_bio(ssl.MemoryBIO(), outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize(
    ("offered", "name", "agreed"),
    [
        (("mezite-tunnel/1",), "agents.example", "mezite-tunnel/1"),
        (("mezite-grpc/1",), "grpc.example", "mezite-grpc/1"),
        (("h2",), "h2.example", "h2"),
        (("h2", "http/1.1"), "web.example", "http/1.1"),
        (("http/1.1", "mezite-grpc/1", "mezite-tunnel/1"), "agents.example", "mezite-tunnel/1"),
        (("acme-tls/1",), "other.example", None),
        ((), "other.example", None),
    ],
)
async def test_the_clients_protocols_choose_the_certificate_and_the_handler(
    offered: tuple[str, ...], name: str, agreed: str | None
) -> None:
    door = Door()
    client, server = memory_stream_pair()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(door.router(otherwise=True).serve, door.connection(server))
            assert await hears(client, offered) == name.encode()
    assert door.served == [(name, agreed)]
    assert door.lifted == 1


@pytest.mark.parametrize("offered", [("acme-tls/1",), ()])
async def test_without_a_route_the_client_is_told_by_an_alert(
    offered: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    door = Door()
    client, server = memory_stream_pair()
    await client.send_all(hello(offered))
    with caplog.at_level(logging.INFO, "mezite.ports"):
        await door.router(otherwise=False).serve(door.connection(server))
    assert await client.receive_some() == b"\x15\x03\x03\x00\x02\x02\x78"
    assert (door.served, door.lifted) == ([], 0)
    (record,) = caplog.records
    assert record.reason.startswith("its protocol is not served here")


@pytest.mark.parametrize("opening", [b"SSH-2.0-OpenSSH\r\n", b"\x16\x03\x01\x40\x00"])
async def test_what_is_no_client_hello_gets_an_alert(opening: bytes) -> None:
    door = Door()
    client, server = memory_stream_pair()
    await client.send_all(opening)
    with trio.fail_after(10):
        await door.router(otherwise=True).serve(door.connection(server))
    assert await client.receive_some() == b"\x15\x03\x03\x00\x02\x02\x32"
    assert door.served == []


async def test_the_hello_counts_for_the_deadline_of_the_handshake(autojump_clock: MockClock) -> None:
    """Threats A11, P15: half a ClientHello, and then nothing."""
    door = Door()
    client, server = memory_stream_pair()
    await client.send_all(b"\x16\x03\x01\x02\x00\x01")
    with pytest.raises(trio.BrokenResourceError, match="no TLS handshake within 10 s"):
        await door.router(otherwise=True).serve(door.connection(server))
    assert trio.current_time() == HANDSHAKE_SECONDS
    assert door.lifted == 0


async def test_a_client_that_leaves_before_its_alert_is_no_news() -> None:
    door = Door()
    client, server = memory_stream_pair()
    await client.send_all(b"SSH-2.0-OpenSSH\r\n")
    await client.receive_stream.aclose()
    connection = door.connection(server)
    await server.send_stream.aclose()
    await door.router(otherwise=True).serve(connection)
    assert door.served == []


# --- inside of something else -------------------------------------------------------------------------------


async def carry(router: TlsRouter, stream: trio.abc.Stream) -> None:
    await router.serve_inner(stream, client_address=PEER, local_address=LOCAL)


async def test_a_carried_client_is_served_and_its_carrier_closed() -> None:
    door = Door()
    client, server = memory_stream_pair()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(carry, door.router(otherwise=False), server)
            assert await hears(client, ("h2",)) == b"h2.example"
    assert door.served == [("h2.example", "h2")]
    with pytest.raises(trio.ClosedResourceError):
        await server.receive_some()


async def test_who_is_carried_has_a_budget_of_its_own() -> None:
    """Threat D14: the carrier's budget was lifted, what is inside has proven nothing."""
    door = Door()
    client, server = memory_stream_pair()
    await client.send_all(b"\x16\x03\x01\x00\x01\x01" * 20_000)
    await carry(door.router(otherwise=True), server)
    assert await client.receive_some() == b"\x15\x03\x03\x00\x02\x02\x32"
    with pytest.raises(trio.BrokenResourceError):
        await client.send_all(b"x")


async def test_a_route_that_keeps_a_carried_client_waiting_ends(autojump_clock: MockClock) -> None:
    async def never(stream: TlsStream, connection: Connection) -> None:
        await trio.sleep_forever()

    door = Door()
    router = TlsRouter(routes=[attrs.evolve(door.route("a.example", "h2"), serve=never)])
    client, server = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(carry, router, server)
        with pytest.raises(TlsError, match="truncated"):
            await hears(client, ("h2",))
    assert trio.current_time() == ConnectionLimits().handshake_deadline


async def test_a_carried_client_that_sends_too_much() -> None:
    async def read_on(stream: TlsStream, _connection: Connection) -> None:
        while await stream.receive_some():
            pass

    door = Door()
    router = TlsRouter(routes=[attrs.evolve(door.route("a.example", "h2"), serve=read_on)])
    client, server = memory_stream_pair()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(carry, router, server)
            stream = TlsStream(client, unverified_client_context(("h2",)), server_side=False)
            await stream.do_handshake()
            # The end may come while some of it is still on its way.
            with suppress(trio.BrokenResourceError):
                await stream.send_all(bytes(1024 * 1024))
            with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
                await stream.receive_some()


# --- the hub's own tunnels, carried ---------------------------------------------------------------------------


async def carried(hub: LiveHub, nursery: trio.Nursery, context: ssl.SSLContext) -> TlsStream:
    client, server = memory_stream_pair()
    nursery.start_soon(carry, hub.hub.inner_tls, server)
    stream = TlsStream(client, context, server_side=False)
    await stream.do_handshake()
    return stream


async def test_agents_and_users_come_through_carriers_too(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub, trio.open_nursery() as nursery:
        enrolled = await hub.enroll()
        _current, profile = await hub.user()
        with trio.fail_after(20):
            agents = await carried(hub, nursery, agent_context(enrolled))
            async with session_on(agents) as session:
                nursery.start_soon(serve_quietly, FakeAgent(session))
                while hub.hub.services.registry.find(enrolled.identity.agent_id) is None:
                    await hub.hub.services.registry.wait_tunnel()
                async with session_on(await carried(hub, nursery, user_context(profile))) as user:
                    await user.wait_round_trip()
                nothing = await carried(hub, nursery, unverified_client_context(("mezite-connect/1",)))
                with pytest.raises(TlsError, match="certificate required"):
                    await nothing.receive_some()
        nursery.cancel_scope.cancel()
