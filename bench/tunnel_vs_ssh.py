# SPDX-License-Identifier: Apache-2.0
"""Bulk MB/s of one TCP connection through a tunnel against ``ssh -R``, in pairs in one run; prints ratios.

    python -m bench.tunnel_vs_ssh [--megabytes 256] [--rounds 5]

Ours: client -> TCP -> hub process (relay -> MuxSession -> mutual TLS 1.3) -> TCP -> agent process (TLS -> mux ->
relay) -> TCP -> endpoint process, and back. Theirs: the same client and endpoint, sshd in place of the hub and
``ssh -R`` with aes128-gcm in place of the agent. A round measures all four cases one after the other. CPU seconds
per GB are those of hub and agent, or of sshd and ssh: on a busy machine they disturb least.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import attrs
import trio

from bench.machine import cpu_seconds, descendants, median, print_facts
from bench.plain_sshd import plain_sshd, wait_for_port
from mezite.core.mux.connection import ChannelHeader, Side
from mezite.net.byte_streams import relay
from mezite.net.dialer import dial
from mezite.net.heap import keep_large_blocks
from mezite.net.mux_session import MuxSession
from mezite.net.socket_options import tune_connection
from mezite.net.tls_contexts import mutual_client_context, mutual_server_context
from mezite.net.tls_stream import TlsStream
from mezite.testing.certificates import ThrowAwayCa
from mezite.testing.ports import free_port

ALPN = ["mezite-tunnel/1"]
CHUNK = 256 * 1024
HEADER_BYTES = 12
TO_AGENT, FROM_AGENT = "to the agent", "from the agent"
PROCESSES = multiprocessing.get_context("spawn")


@attrs.frozen
class Pems:
    """What one side of the mutual handshake needs."""

    ca: bytes
    certificate: bytes
    key: bytes


# The endpoint behind the agent, and the client: blocking sockets, the same for both.


def receive_exactly(sock: socket.socket, count: int) -> None:
    buffer = bytearray(CHUNK)
    while count:
        got = sock.recv_into(buffer, min(CHUNK, count))
        if not got:
            raise ConnectionError("the path ended early")
        count -= got


def send_exactly(sock: socket.socket, count: int) -> None:
    data = bytes(CHUNK)
    while count:
        sock.sendall(data[:count])
        count -= min(CHUNK, count)


def answer(sock: socket.socket) -> None:
    with sock, contextlib.suppress(ConnectionError):
        head = sock.recv(HEADER_BYTES, socket.MSG_WAITALL)
        count = int.from_bytes(head[1:])
        if head[:1] == b"S":
            receive_exactly(sock, count)
            sock.sendall(b"k")
        elif head[:1] == b"G":
            send_exactly(sock, count)


def endpoint_process(pipe: Connection) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        pipe.send(server.getsockname()[1])
        while True:
            sock, _ = server.accept()
            threading.Thread(target=answer, args=(sock,), daemon=True).start()


def transfer(port: int, direction: str, count: int) -> float:
    """Seconds for ``count`` bytes through the path that begins at ``port``."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        started = time.perf_counter()
        if direction == TO_AGENT:
            sock.sendall(b"S" + count.to_bytes(HEADER_BYTES - 1))
            send_exactly(sock, count)
            receive_exactly(sock, 1)
        else:
            sock.sendall(b"G" + count.to_bytes(HEADER_BYTES - 1))
            receive_exactly(sock, count)
        return time.perf_counter() - started


# The tunnel: a hub and an agent reduced to their byte path.


async def run_hub(pems: Pems, pipe: Connection) -> None:
    context = mutual_server_context(pems.certificate, pems.key, [pems.ca], ALPN)
    clients, tunnels = [(await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] for _ in range(2)]
    pipe.send([listener.socket.getsockname()[1] for listener in (clients, tunnels)])
    transport = await tunnels.accept()
    tune_connection(transport)
    stream = TlsStream(transport, context, server_side=True)
    await stream.do_handshake()
    session = MuxSession(stream, Side.ACCEPTER)

    async def serve(client: trio.SocketStream) -> None:
        await relay(client, await session.open_channel(ChannelHeader(kind="tcp")))

    async with trio.open_nursery() as nursery:
        await nursery.start(session.run)
        pipe.send("ready")
        await trio.serve_listeners(serve, [clients])


async def run_agent(pems: Pems, tunnel_port: int, endpoint_port: int) -> None:
    context = mutual_client_context([pems.ca], pems.certificate, pems.key, ALPN)
    stream = TlsStream(await dial(f"127.0.0.1:{tunnel_port}", 0), context, server_side=False)
    await stream.do_handshake()
    session = MuxSession(stream, Side.DIALER)
    async with trio.open_nursery() as nursery:
        await nursery.start(session.run)
        while True:
            pending = await session.accept_channel()
            target = await dial(f"127.0.0.1:{endpoint_port}", 0)
            nursery.start_soon(relay, await pending.accept(), target)


def hub_process(pems: Pems, pipe: Connection) -> None:
    keep_large_blocks()
    trio.run(run_hub, pems, pipe)


def agent_process(pems: Pems, tunnel_port: int, endpoint_port: int) -> None:
    keep_large_blocks()
    trio.run(run_agent, pems, tunnel_port, endpoint_port)


# What is measured.


@attrs.frozen
class Route:
    """A way to the endpoint: where it begins, and the processes it consists of."""

    name: str
    port: int
    roots: tuple[int, ...]

    def cpu(self) -> float:
        return cpu_seconds(pid for root in self.roots for pid in descendants(root))


@contextlib.contextmanager
def running(target, *arguments) -> Iterator[multiprocessing.process.BaseProcess]:
    process = PROCESSES.Process(target=target, args=arguments, daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


@contextlib.contextmanager
def tunnel(endpoint_port: int) -> Iterator[Route]:
    ca = ThrowAwayCa(int(time.time()))
    authority = attrs.evolve(ca.hub(), certificate=ca.host_tls_ca).certificate_pem
    sides = [Pems(authority, side.certificate_pem, side.key_pem) for side in (ca.hub(), ca.agent())]
    here, there = PROCESSES.Pipe()
    with running(hub_process, sides[0], there) as hub:
        there.close()  # so that a process that failed is noticed
        client_port, tunnel_port = here.recv()
        with running(agent_process, sides[1], tunnel_port, endpoint_port) as agent:
            here.recv()
            yield Route("tunnel", client_port, (hub.pid, agent.pid))


@contextlib.contextmanager
def ssh_reverse(endpoint_port: int) -> Iterator[Route]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, plain_sshd(Path(folder)) as sshd:
        forward = f"127.0.0.1:{port}:127.0.0.1:{endpoint_port}"
        client = subprocess.Popen(sshd.client("-N", "-R", forward, "127.0.0.1"))
        try:
            wait_for_port(port)
            yield Route("ssh -R", port, (sshd.pid, client.pid))
        finally:
            client.kill()
            client.wait()


def measure(path: Route, direction: str, count: int) -> tuple[float, float]:
    """MB/s, and CPU seconds per GB."""
    before = path.cpu()
    seconds = transfer(path.port, direction, count)
    return count / seconds / 1e6, (path.cpu() - before) / count * 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=256, help="in each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print_facts("bench.tunnel_vs_ssh")
    count = options.megabytes * 1_000_000
    here, there = PROCESSES.Pipe()
    with contextlib.ExitStack() as stack:
        stack.enter_context(running(endpoint_process, there))
        there.close()
        endpoint = here.recv()
        ours, theirs = stack.enter_context(tunnel(endpoint)), stack.enter_context(ssh_reverse(endpoint))
        for path in (ours, theirs):
            transfer(path.port, TO_AGENT, count // 8)
        for direction in (TO_AGENT, FROM_AGENT):
            pairs = [
                (measure(ours, direction, count), measure(theirs, direction, count))
                for _ in range(options.rounds)
            ]
            report(direction, pairs)


def report(direction: str, pairs: list[tuple[tuple[float, float], tuple[float, float]]]) -> None:
    speed = [median(pair[side][0] for pair in pairs) for side in (0, 1)]
    cost = [median(pair[side][1] for pair in pairs) for side in (0, 1)]
    ratios = [ours[0] / theirs[0] for ours, theirs in pairs]
    print(
        f"{direction:15} tunnel {speed[0]:4.0f} MB/s ({cost[0]:.2f} cpu-s/GB), "
        f"ssh -R {speed[1]:4.0f} MB/s ({cost[1]:.2f} cpu-s/GB); "
        f"ratio of medians {speed[0] / speed[1]:.2f}x, of pairs {min(ratios):.2f}-{max(ratios):.2f}x, "
        f"cpu {cost[0] / cost[1]:.2f}x",
        flush=True,
    )


if __name__ == "__main__":
    main()
