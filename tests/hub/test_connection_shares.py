# SPDX-License-Identifier: Apache-2.0
"""Threats A11, D14: strangers who hold connections do not take the places of agents, users and whoever watches."""

from ipaddress import ip_network

import attrs
import pytest
import trio

from mezite.hub.daemon import run_hub
from mezite.hub.ports import connection_limiters
from mezite.net.tls_contexts import unverified_client_context
from mezite.net.tls_stream import TlsStream
from tests.hub.live_hub import fill, hub_config

PING = b"GET /v1/webapi/ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def web_client(address: str) -> trio.abc.Stream:
    """A connection that is kept: one request has been answered."""
    host, _, port = address.rpartition(":")
    transport = await trio.open_tcp_stream(host, int(port))
    stream = TlsStream(transport, unverified_client_context(("http/1.1",)), server_side=False)
    await stream.do_handshake()
    await stream.send_all(PING)
    assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
    return stream


async def test_strangers_do_not_take_the_places_of_others(tmp_path):
    await fill(tmp_path / "hub")
    config = hub_config(tmp_path / "hub")
    config = attrs.evolve(config, proxy=attrs.evolve(config.proxy, max_connections=12))
    async with trio.open_nursery() as nursery:

        async def start(*, task_status):
            await run_hub(config, stop=trio.Event(), task_status=task_status)

        addresses = (await nursery.start(start)).addresses
        held = [await web_client(addresses["web"]) for _ in range(4)]
        with pytest.raises((trio.BrokenResourceError, OSError)):
            await web_client(addresses["web"])
        for name, words in (("diag", HEALTH), ("ssh", b"SSH-2.0-test\r\n")):
            host, _, port = addresses[name].rpartition(":")
            async with await trio.open_tcp_stream(host, int(port)) as stream:
                await stream.send_all(words)
                with trio.fail_after(10):
                    assert await stream.receive_some(), name
        for stream in held:
            await trio.aclose_forcefully(stream)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("total", "anybody", "proven"), [(15_000, 5_000, 10_000), (1, 1, 1), (3, 1, 2)])
def test_shares(tmp_path, total, anybody, proven):
    config = hub_config(tmp_path)
    config = attrs.evolve(config, proxy=attrs.evolve(config.proxy, max_connections=total))
    limiters = connection_limiters(config)
    assert limiters["web"] is limiters["auth"]
    assert limiters["tunnel"] is limiters["ssh"]
    assert limiters["web"].limits.max_connections == anybody
    assert limiters["tunnel"].limits.max_connections == proven
    assert limiters["diag"] not in (limiters["web"], limiters["tunnel"])


@pytest.mark.parametrize(
    ("settings", "exempt"),
    [
        ({}, False),
        ({"trusted_ip_header": "X-Forwarded-For"}, False),
        ({"trusted_ip_header_cidrs": (ip_network("10.0.0.5/32"),)}, False),
        ({"trusted_ip_header": "X-Real-IP", "trusted_ip_header_cidrs": (ip_network("10.0.0.5/32"),)}, True),
        ({"trusted_ip_header": "X-Real-IP", "trusted_ip_header_cidrs": (ip_network("fd00::/64"),)}, False),
    ],
)
def test_balancers_that_were_listed_speak_for_others(tmp_path, settings, exempt):
    """Threat C7: a balancer has the connections of all its clients; a neighbour in a private network has its own."""
    config = hub_config(tmp_path)
    limiters = connection_limiters(attrs.evolve(config, proxy=attrs.evolve(config.proxy, **settings)))
    for name in ("web", "tunnel"):
        assert limiters[name].speaks_for_others("10.0.0.5") is exempt
        assert not limiters[name].speaks_for_others("10.0.0.6")
        assert not limiters[name].speaks_for_others("unknown")
