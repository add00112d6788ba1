# SPDX-License-Identifier: Apache-2.0
"""Bulk MB/s of an agent's tunnel by what carries it: TCP, an outer TLS session, a WebSocket in TLS; in one run.

    python -m bench.websocket_vs_tunnel [--megabytes 256] [--rounds 5]

The path is that of ``bench.tunnel_vs_ssh``: client -> hub process -> agent process -> endpoint process. All three carry
the same mutual TLS and multiplexer; the second and third add another TLS session around it, as through a balancer, and
the third a WebSocket between the two. Each round measures all three, one after the other.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import attrs
import trio
from wsproto.connection import Connection as WsConnection
from wsproto.connection import ConnectionType

from bench.machine import median, print_facts
from bench.tunnel_vs_ssh import (
    ALPN,
    FROM_AGENT,
    PROCESSES,
    TO_AGENT,
    Pems,
    Route,
    endpoint_process,
    measure,
    running,
    transfer,
)
from mezite.core.mux.connection import ChannelHeader, Side
from mezite.net.byte_streams import relay
from mezite.net.dialer import dial
from mezite.net.heap import keep_large_blocks
from mezite.net.mux_session import MuxSession, TunnelClosedError
from mezite.net.socket_options import tune_connection
from mezite.net.tls_contexts import (
    client_context,
    mutual_client_context,
    mutual_server_context,
    server_context,
)
from mezite.net.tls_stream import TlsStream
from mezite.net.tunnel_route import Carrier
from mezite.net.websocket_connection import WebSocketConnection
from mezite.net.websocket_stream import WebSocketStream
from mezite.testing.certificates import ThrowAwayCa
from mezite.testing.self_signed import self_signed_pem

Outer = tuple[bytes, bytes]


async def carried(
    transport: trio.abc.Stream, carrier: Carrier, outer: Outer, *, server_side: bool
) -> trio.abc.Stream:
    """The stream for the inner TLS session, as of an upgrade that is done."""
    if carrier is Carrier.TCP:
        return transport
    if server_side:
        tls = TlsStream(transport, server_context(*outer, ()), server_side=True)
    else:
        context = client_context([outer[0]], ())
        tls = TlsStream(transport, context, server_side=False, server_hostname="127.0.0.1")
    await tls.do_handshake()
    if carrier is Carrier.TLS:
        return tls
    kind = ConnectionType.SERVER if server_side else ConnectionType.CLIENT
    return WebSocketStream(WebSocketConnection(tls, WsConnection(kind)))


async def run_hub(pems: Pems, carrier: Carrier, outer: Outer, pipe: Connection) -> None:
    context = mutual_server_context(pems.certificate, pems.key, [pems.ca], ALPN)
    clients, tunnels = [(await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] for _ in range(2)]
    pipe.send([listener.socket.getsockname()[1] for listener in (clients, tunnels)])
    transport = await tunnels.accept()
    tune_connection(transport)
    inner = await carried(transport, carrier, outer, server_side=True)
    stream = TlsStream(inner, context, server_side=True)
    await stream.do_handshake()
    session = MuxSession(stream, Side.ACCEPTER)

    async def serve(client: trio.SocketStream) -> None:
        await relay(client, await session.open_channel(ChannelHeader(kind="tcp")))

    async with trio.open_nursery() as nursery:
        await nursery.start(session.run)
        pipe.send("ready")
        await trio.serve_listeners(serve, [clients])


async def run_agent(pems: Pems, carrier: Carrier, outer: Outer, ports: tuple[int, int]) -> None:
    tunnel_port, endpoint_port = ports
    context = mutual_client_context([pems.ca], pems.certificate, pems.key, ALPN)
    transport = await dial(f"127.0.0.1:{tunnel_port}", 0)
    stream = TlsStream(
        await carried(transport, carrier, outer, server_side=False), context, server_side=False
    )
    await stream.do_handshake()
    session = MuxSession(stream, Side.DIALER)
    async with trio.open_nursery() as nursery:
        await nursery.start(session.run)
        while True:
            pending = await session.accept_channel()
            target = await dial(f"127.0.0.1:{endpoint_port}", 0)
            nursery.start_soon(relay, await pending.accept(), target)


def hub_process(pems: Pems, carrier: Carrier, outer: Outer, pipe: Connection) -> None:
    keep_large_blocks()
    try:
        trio.run(run_hub, pems, carrier, outer, pipe)
    except* TunnelClosedError:
        pass  # the agent is ended first


def agent_process(pems: Pems, carrier: Carrier, outer: Outer, ports: tuple[int, int]) -> None:
    keep_large_blocks()
    trio.run(run_agent, pems, carrier, outer, ports)


@contextlib.contextmanager
def tunnel(endpoint_port: int, carrier: Carrier) -> Iterator[Route]:
    ca = ThrowAwayCa(int(time.time()))
    authority = attrs.evolve(ca.hub(), certificate=ca.host_tls_ca).certificate_pem
    sides = [Pems(authority, side.certificate_pem, side.key_pem) for side in (ca.hub(), ca.agent())]
    outer = self_signed_pem()
    here, there = PROCESSES.Pipe()
    with running(hub_process, sides[0], carrier, outer, there) as hub:
        there.close()  # so that a process that failed is noticed
        client_port, tunnel_port = here.recv()
        with running(agent_process, sides[1], carrier, outer, (tunnel_port, endpoint_port)) as agent:
            here.recv()
            yield Route(carrier.value, client_port, (hub.pid, agent.pid))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=256, help="in each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print_facts("bench.websocket_vs_tunnel")
    count = options.megabytes * 1_000_000
    here, there = PROCESSES.Pipe()
    with contextlib.ExitStack() as stack:
        stack.enter_context(running(endpoint_process, there))
        there.close()
        endpoint = here.recv()
        routes = [stack.enter_context(tunnel(endpoint, carrier)) for carrier in Carrier]
        for route in routes:
            transfer(route.port, TO_AGENT, count // 8)
        for direction in (TO_AGENT, FROM_AGENT):
            rounds = [[measure(route, direction, count) for route in routes] for _ in range(options.rounds)]
            report(direction, routes, rounds)


def report(direction: str, routes: list[Route], rounds: list[list[tuple[float, float]]]) -> None:
    base = median(each[0][0] for each in rounds)
    for number, route in enumerate(routes):
        speed = median(each[number][0] for each in rounds)
        cost = median(each[number][1] for each in rounds)
        ratios = [each[number][0] / each[0][0] for each in rounds]
        print(
            f"{direction:15} {route.name:9} {speed:4.0f} MB/s ({cost:.2f} cpu-s/GB); to tcp: ratio of medians "
            f"{speed / base:.2f}x, of pairs {min(ratios):.2f}-{max(ratios):.2f}x",
            flush=True,
        )


if __name__ == "__main__":
    main()
