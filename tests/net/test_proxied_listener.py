# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_network

import attrs
import pytest
import trio
import trio.testing

from mezite.core.proxy_protocol.trust import ProxyMode, TrustPolicy
from mezite.net.accept_loop import Connection, serve_connections
from mezite.net.connection_limits import ConnectionLimiter, ConnectionLimits
from mezite.net.log_budget import LOG_BURST, LOG_INTERVAL_SECONDS
from mezite.net.protocol_router import SERVER_FIRST_WAIT_SECONDS
from mezite.net.proxied_listener import HEADER_SECONDS, ProxiedListener
from mezite.testing.memory_network import MemoryNetwork

TRUSTED = "10.0.0.1:40000"
STRANGER = "8.8.8.8:40000"
V1 = b"PROXY TCP4 192.0.2.7 10.0.0.9 1234 443\r\n"
LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"


@attrs.define(eq=False)
class Served:
    """What came through and what did not."""

    clients: list[str] = attrs.field(factory=list)
    payloads: list[bytes] = attrs.field(factory=list)
    refused: list[str] = attrs.field(factory=list)

    async def handle(self, connection: Connection) -> None:
        self.clients.append(connection.client_address)
        self.payloads.append(bytes(await connection.stream.receive_some()))

    async def refuse(self, connection: Connection, reason: str) -> None:
        self.refused.append(f"{connection.peer_address}: {reason}")


def connection_on(stream: trio.abc.Stream, peer: str) -> Connection:
    from mezite.net.byte_streams import PushbackStream

    return Connection(PushbackStream(stream), peer, "127.0.0.1:3080", "test", lambda: None, lambda _ip: None)


async def serve(
    mode: ProxyMode, peer: str, *sent: bytes, server_first: bool = False, eof: bool = True
) -> tuple[Served, float]:
    """Serve one connection on which `sent` arrives piece by piece; return what happened and how long it took."""
    served = Served()
    networks = [] if mode is ProxyMode.OFF else [ip_network("10.0.0.0/24")]
    listener = ProxiedListener(
        policy=TrustPolicy(mode, networks),
        handler=served.handle,
        refused=served.refuse,
        server_first=server_first,
    )
    ours, theirs = trio.testing.memory_stream_pair()
    begin = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.handle, connection_on(ours, peer))
        for piece in sent:
            await theirs.send_all(piece)
            await trio.testing.wait_all_tasks_blocked()
        if eof:
            await theirs.send_eof()
    return served, trio.current_time() - begin


async def test_off_passes_everything_on() -> None:
    served, _ = await serve(ProxyMode.OFF, TRUSTED, V1 + b"hello")
    assert (served.clients, served.payloads) == ([TRUSTED], [V1 + b"hello"])


@pytest.mark.parametrize("mode", [ProxyMode.ON, ProxyMode.REQUIRE])
@pytest.mark.parametrize("step", [1, 5, 1000])
async def test_a_trusted_header_names_the_client(mode: ProxyMode, step: int) -> None:
    data = V1 + b"hello"
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    served, _ = await serve(mode, TRUSTED, *pieces)
    assert served.clients == ["192.0.2.7:1234"]
    assert b"hello".startswith(served.payloads[0])


async def test_a_trusted_peer_without_a_header_is_its_own_client() -> None:
    served, _ = await serve(ProxyMode.ON, TRUSTED, b"\x16\x03\x01 hello")
    assert (served.clients, served.payloads) == ([TRUSTED], [b"\x16\x03\x01 hello"])


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"])
async def test_a_header_without_addresses_leaves_the_sockets(header: bytes) -> None:
    """Threat C3."""
    served, _ = await serve(ProxyMode.REQUIRE, TRUSTED, header + b"x")
    assert (served.clients, served.payloads) == ([TRUSTED], [b"x"])


async def test_a_stranger_may_connect_but_not_send_a_header() -> None:
    """Threat C1."""
    served, _ = await serve(ProxyMode.ON, STRANGER, b"hello")
    assert served.clients == [STRANGER]
    served, _ = await serve(ProxyMode.ON, STRANGER, V1 + b"hello")
    assert served.clients == []
    assert "proxy_protocol_trusted_cidrs" in served.refused[0]


async def test_a_flood_of_headers_does_not_flood_the_log(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    """Threat P15: each refusal is told to the audit log, which counts; the log gets some and a number."""
    served = Served()
    listener = ProxiedListener(
        policy=TrustPolicy(ProxyMode.ON, [ip_network("10.0.0.0/24")]),
        handler=served.handle,
        refused=served.refuse,
    )

    async def send_a_header() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_all(V1)
        await listener.handle(connection_on(ours, STRANGER))

    for _ in range(LOG_BURST + 7):
        await send_a_header()
    assert len(caplog.records) == LOG_BURST
    await trio.sleep(LOG_INTERVAL_SECONDS)
    await send_a_header()
    assert caplog.records[-1].getMessage() == "refused a connection (7 like records left out)"
    assert len(served.refused) == LOG_BURST + 8


async def test_a_peer_that_is_gone_already_is_nobody() -> None:
    served, _ = await serve(ProxyMode.ON, "unknown:0", V1)
    assert (served.clients, served.refused) == ([], [])


async def test_require_refuses_strangers_at_once() -> None:
    served, _ = await serve(ProxyMode.REQUIRE, STRANGER, V1 + b"hello")
    assert served.clients == []
    assert "not among the trusted peers" in served.refused[0]


async def test_require_refuses_payload_without_a_header() -> None:
    served, _ = await serve(ProxyMode.REQUIRE, TRUSTED, b"hello")
    assert "set proxy.proxy_protocol to on" in served.refused[0]


async def test_a_malformed_header_is_refused() -> None:
    served, _ = await serve(ProxyMode.ON, TRUSTED, b"PROXY TCP4 1.2.3.4\r\n")
    assert "malformed" in served.refused[0]


@pytest.mark.parametrize("mode", [ProxyMode.ON, ProxyMode.REQUIRE])
async def test_a_probe_that_says_nothing_is_nobodys_business(mode: ProxyMode) -> None:
    """Health checks connect and close: no handler, no record."""
    served, _ = await serve(mode, TRUSTED)
    assert (served.clients, served.refused) == ([], [])


async def test_half_a_header_is_refused() -> None:
    served, _ = await serve(ProxyMode.ON, TRUSTED, b"PROXY TCP4 ")
    assert "in the middle of a PROXY header" in served.refused[0]


async def test_a_header_that_does_not_go_on(autojump_clock: trio.testing.MockClock) -> None:
    """Threat C4."""
    served, took = await serve(ProxyMode.ON, TRUSTED, b"PROXY TCP4 ", eof=False)
    assert took == pytest.approx(HEADER_SECONDS)
    assert "not complete within 5 s" in served.refused[0]


async def test_a_required_header_that_never_begins(autojump_clock: trio.testing.MockClock) -> None:
    served, took = await serve(ProxyMode.REQUIRE, TRUSTED, eof=False)
    assert took == pytest.approx(HEADER_SECONDS)
    assert "sent no PROXY header" in served.refused[0]


async def test_a_client_that_waits_for_us_gets_its_banner(autojump_clock: trio.testing.MockClock) -> None:
    """Threat C5: SSH is server-first; such a client and we would wait for each other."""
    served = Served()
    spoken = trio.Event()

    async def greet(connection: Connection) -> None:
        served.clients.append(connection.client_address)
        spoken.set()

    listener = ProxiedListener(
        policy=TrustPolicy(ProxyMode.ON, [ip_network("10.0.0.0/24")]),
        handler=greet,
        refused=served.refuse,
        server_first=True,
    )
    ours, _theirs = trio.testing.memory_stream_pair()
    begin = trio.current_time()
    await listener.handle(connection_on(ours, TRUSTED))
    assert spoken.is_set()
    assert trio.current_time() - begin == pytest.approx(SERVER_FIRST_WAIT_SECONDS)


async def test_the_limiter_counts_the_real_client() -> None:
    """Threat C7: behind a balancer the limit is for each client, not for the balancer."""
    network = MemoryNetwork()
    limiter = ConnectionLimiter(
        ConnectionLimits(max_connections_per_ip=2), speaks_for_others=lambda ip: ip == "10.0.0.1"
    )
    served = Served()
    release = trio.Event()

    async def hold(connection: Connection) -> None:
        served.clients.append(connection.client_ip)
        await release.wait()

    listener = ProxiedListener(
        policy=TrustPolicy(ProxyMode.ON, [ip_network("10.0.0.0/24")]), handler=hold, refused=served.refuse
    )
    async with trio.open_nursery() as nursery:
        accepting = network.listen("10.0.0.9:3080")
        await nursery.start(
            lambda *, task_status: serve_connections(
                [accepting], listener.handle, name="test", limiter=limiter, task_status=task_status
            )
        )
        for source in ["192.0.2.1"] * 3 + ["192.0.2.2"]:
            stream = await network.dial("10.0.0.9:3080", source="10.0.0.1")
            await stream.send_all(f"PROXY TCP4 {source} 10.0.0.9 1 2\r\nx".encode())
            await trio.testing.wait_all_tasks_blocked()
        assert served.clients == ["192.0.2.1", "192.0.2.1", "192.0.2.2"]
        assert "2 connections from this address" in served.refused[0]
        assert limiter.statistics().addresses == 2
        release.set()
        await trio.testing.wait_all_tasks_blocked()
        assert limiter.statistics().connections == 0
        nursery.cancel_scope.cancel()
