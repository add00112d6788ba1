# SPDX-License-Identifier: Apache-2.0
"""An outer TLS session that the hub ends itself, as a balancer would: one layer, and it proves nothing."""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from mezite.config.schema import ProxyConfig
from mezite.handlers.ports.tls_router import TlsRoute, TlsRouter, outer_route
from mezite.handlers.ports.tunnel_port import TunnelPort
from mezite.net.accept_loop import Connection
from mezite.net.byte_streams import PushbackStream
from mezite.net.connection_limits import BudgetedStream, BudgetExceededError
from mezite.net.dialer import dial
from mezite.net.tls_contexts import client_context, server_context, unverified_client_context
from mezite.net.tls_stream import TlsError, TlsStream
from mezite.testing.self_signed import self_signed_pem
from tests.handlers.peers import FakeAgent, agent_context, read_all, serve_quietly, session_on, user_context
from tests.hub.live_hub import ANYWHERE, LiveHub, live_hub


@asynccontextmanager
async def shared_hub(folder: Path) -> AsyncIterator[LiveHub]:
    async with live_hub(folder) as hub:
        with trio.fail_after(30):
            yield hub


def roots(hub: LiveHub) -> list[bytes]:
    return [pem.encode() for pem in hub.hub.ground.authorities.host_tls_ca_pem]


async def wrapped(hub: LiveHub, port: str, alpn: tuple[str, ...] = ()) -> TlsStream:
    """A connection with an outer session around it, whose certificate was checked."""
    transport, context = await dial(hub.address(port), 1), client_context(roots(hub), alpn)
    stream = TlsStream(transport, context, server_side=False, server_hostname="localhost")
    await stream.do_handshake()
    return stream


async def inside(stream: trio.abc.Stream, context: ssl.SSLContext) -> TlsStream:
    inner = TlsStream(stream, context, server_side=False)
    await inner.do_handshake()
    return inner


async def test_tunnels_and_ssh(tmp_path: Path) -> None:
    """Whatever else the outer session offers; also for SSH clients that wait for us (threat C5)."""
    async with shared_hub(tmp_path) as hub, trio.open_nursery() as nursery:
        for number, alpn in enumerate([(), ("h2", "http/1.1"), ("acme-tls/1",)]):
            enrolled = await hub.enroll(f"node-{number}")
            tunnel = await inside(await wrapped(hub, "tunnel", alpn), agent_context(enrolled))
            async with session_on(tunnel) as session:
                nursery.start_soon(serve_quietly, FakeAgent(session))
                while hub.hub.services.registry.find(enrolled.identity.agent_id) is None:
                    await hub.hub.services.registry.wait_tunnel()
        _current, profile = await hub.user()
        async with session_on(await inside(await wrapped(hub, "ssh"), user_context(profile))) as session:
            await session.wait_round_trip()
        for greeting in (b"SSH-2.0-test\r\n", b""):
            async with await wrapped(hub, "ssh") as stream:
                if greeting:
                    await stream.send_all(greeting)
                assert bytes(await stream.receive_some()).startswith(b"SSH-2.0-")
        nursery.cancel_scope.cancel()


async def test_it_opens_nothing_by_itself(tmp_path: Path) -> None:
    """Threat F2: the inner handshake stays mutual, and there is only one layer."""
    async with shared_hub(tmp_path) as hub:
        for port, alpn in (("tunnel", "mezite-tunnel/1"), ("ssh", "mezite-connect/1")):
            stream = await inside(await wrapped(hub, port), unverified_client_context((alpn,)))
            with pytest.raises(TlsError, match="certificate required"):
                await stream.receive_some()
            await trio.aclose_forcefully(stream)
            outer = await wrapped(hub, port)
            with pytest.raises(TlsError):
                await inside(outer, client_context(roots(hub), ()))
            await trio.aclose_forcefully(outer)


async def test_a_browser_at_the_agents_port_is_shown_the_way(tmp_path: Path) -> None:
    async with shared_hub(tmp_path) as hub, await wrapped(hub, "tunnel", ("h2", "http/1.1")) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: hub:3024\r\n\r\n")
        answer = await read_all(stream)
        assert answer.startswith(b"HTTP/1.1 400")
        assert f"https://{hub.address('web')}".encode() in answer


async def test_there_is_none_where_a_balancer_holds_the_tls(tmp_path: Path) -> None:
    proxy = ProxyConfig(
        listen_addr=ANYWHERE, ssh_listen_addr=ANYWHERE, tunnel_listen_addr=ANYWHERE, tls_mode="off"
    )
    async with live_hub(tmp_path, proxy=proxy) as hub:
        for port in ("tunnel", "ssh"):
            with pytest.raises(TlsError):
                await wrapped(hub, port)


# --- what it may cost ----------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Carrier:
    """A door with an outer session in front of agents, on streams in memory."""

    lifted: int = 0

    def lift(self) -> None:
        self.lifted += 1

    async def serve_agent(self, stream: TlsStream, connection: Connection) -> None:
        connection.established()

    async def serve(self, stream: trio.abc.Stream) -> None:
        context = server_context(*self_signed_pem(), ("mezite-tunnel/1",))
        agents = (TlsRoute(alpn=("mezite-tunnel/1",), context=lambda: context, serve=self.serve_agent),)
        outer = server_context(*self_signed_pem(), ())
        within = TunnelPort(router=TlsRouter(routes=agents), wrong_door=None)
        door = TlsRouter(routes=agents, otherwise=outer_route(lambda: outer, within.handle))
        connection = Connection(
            PushbackStream(stream), "192.0.2.1:1", "127.0.0.1:3024", "tunnel", self.lift, lambda _ip: None
        )
        await door.serve(connection)


async def test_silence_inside_ends_and_established_nothing(autojump_clock: MockClock) -> None:
    """Threat A11: the outer handshake is anybody's, so the deadlines go on."""
    carrier, (client, server) = Carrier(), memory_stream_pair()
    gone: list[float] = []

    async def serve() -> None:
        with pytest.raises(trio.BrokenResourceError, match="no TLS handshake within 10 s"):
            await carrier.serve(server)
        gone.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        stream = TlsStream(client, unverified_client_context(()), server_side=False)
        await stream.do_handshake()
    assert gone == [10]
    assert carrier.lifted == 0


async def test_both_handshakes_share_one_budget() -> None:
    """Threat D14."""
    carrier, (client, server) = Carrier(), memory_stream_pair()
    budgeted = BudgetedStream(server, 16 * 1024)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def serve() -> None:
            with pytest.raises(BudgetExceededError):
                await carrier.serve(budgeted)

        stream = TlsStream(client, unverified_client_context(()), server_side=False)
        await stream.do_handshake()
        # Half a ClientHello in tiny records, and more.
        await stream.send_all(b"\x16\x03\x01\x00\x01\x01" + b"\x16\x03\x01\x00\x01\x00" * 4000)
    assert carrier.lifted == 0


async def test_an_agent_inside_is_established_once(autojump_clock: MockClock) -> None:
    carrier, (client, server) = Carrier(), memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(carrier.serve, server)
        outer = TlsStream(client, unverified_client_context(()), server_side=False)
        await outer.do_handshake()
        await inside(outer, unverified_client_context(("mezite-tunnel/1",)))
    assert carrier.lifted == 1
    assert math.isfinite(trio.current_time())
