# SPDX-License-Identifier: Apache-2.0
"""What arriving costs: PROXY headers, accepting with and without them, and TLS handshakes. In pairs in one run.

    python -m bench.front_door [--seconds 2] [--rounds 3]

Servers run in processes of their own; the client of a pair is the same for both and shares the machine with them. The
peer for handshakes is a plain loop round Python's ``ssl`` in one thread, with the same contexts.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_network
from multiprocessing.sharedctypes import Synchronized

import trio

from bench.machine import median, print_facts
from mezite.core.proxy_protocol.crc32c import crc32c
from mezite.core.proxy_protocol.reader import HeaderReader
from mezite.core.proxy_protocol.trust import ProxyMode, TrustPolicy
from mezite.core.proxy_protocol.v2 import SIGNATURE
from mezite.handlers.ports.handshake import handshake
from mezite.net.accept_loop import Connection, Handler, serve_connections
from mezite.net.connection_limits import ConnectionLimiter, ConnectionLimits
from mezite.net.proxied_listener import ProxiedListener
from mezite.net.tls_contexts import (
    client_context,
    mutual_client_context,
    mutual_server_context,
    server_context,
)
from mezite.testing.self_signed import self_signed_pem

V1 = b"PROXY TCP4 192.0.2.7 198.51.100.8 50123 3080\r\n"
FOUR = bytes([192, 0, 2, 7, 198, 51, 100, 8]) + struct.pack("!HH", 50123, 3080)
AT_ONCE = 8
ALPN = ["http/1.1"]
LIMITS = ConnectionLimits(max_connections_per_ip=10_000, max_preauth_per_ip=1024)


def version2(*tlvs: tuple[int, bytes]) -> bytes:
    body = FOUR + b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in tlvs)
    return SIGNATURE + b"\x21\x11" + struct.pack("!H", len(body)) + body


def version2_with_tlvs() -> bytes:
    """As HAProxy sends it with everything on: CRC-32C, ALPN, SNI, a unique id, and SSL with version and name."""
    inside = struct.pack("!BI", 7, 0) + b"\x21\x00\x07TLSv1.3" + b"\x22\x00\x06client"
    rest = (1, b"h2"), (2, b"hub.example.com"), (5, b"0123456789abcdef"), (0x20, inside)
    header = bytearray(version2((3, bytes(4)), *rest))
    at = len(SIGNATURE) + 4 + len(FOUR) + 3
    header[at : at + 4] = struct.pack("!I", crc32c(bytes(header)))
    return bytes(header)


# -- headers ------------------------------------------------------------------------------------------------------


def header_cost(header: bytes, seconds: float) -> float:
    """Processor time in ns for one header that arrives whole, with the first bytes of the payload behind it."""
    data, count, began = header + b"\x16\x03\x01", 0, time.process_time()
    while (spent := time.process_time() - began) < seconds:
        for _ in range(100):
            reader = HeaderReader()
            reader.receive_data(data)
            reader.next_event()
            reader.take_payload()
        count += 100
    return spent / count * 1e9


def report_headers(seconds: float, rounds: int) -> None:
    kinds = {"v1": V1, "v2": version2(), "v2 with CRC and TLVs": version2_with_tlvs()}
    for name, header in kinds.items():
        costs = [header_cost(header, seconds / 4) for _ in range(rounds)]
        print(f"PROXY header, {name:22} {len(header):4} bytes  {median(costs):8.0f} ns", flush=True)


# -- servers ------------------------------------------------------------------------------------------------------


def run_accept_loop(port: Synchronized[int], handler: Handler) -> None:
    async def serve() -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1024)
        port.value = listeners[0].socket.getsockname()[1]
        await serve_connections(listeners, handler, name="bench", limiter=ConnectionLimiter(LIMITS))

    trio.run(serve)


async def answer(connection: Connection) -> None:
    """One byte in, one byte out."""
    await connection.stream.receive_some(1)
    connection.established()
    await connection.stream.send_all(b"!")


async def refuse(_connection: Connection, reason: str) -> None:
    raise RuntimeError(reason)


def proxied() -> Handler:
    policy = TrustPolicy(ProxyMode.REQUIRE, (ip_network("127.0.0.1/32"),))
    return ProxiedListener(policy=policy, handler=answer, refused=refuse).handle


def run_plain(port: Synchronized[int]) -> None:
    run_accept_loop(port, answer)


def run_proxied(port: Synchronized[int]) -> None:
    run_accept_loop(port, proxied())


def run_our_tls(pems: tuple[bytes, bytes], mutual: bool, port: Synchronized[int]) -> None:
    context = tls_context(pems, mutual)

    async def serve(connection: Connection) -> None:
        async with await handshake(connection, context) as stream:
            await stream.send_all(b"!")

    run_accept_loop(port, serve)


def run_plain_tls(pems: tuple[bytes, bytes], mutual: bool, port: Synchronized[int]) -> None:
    context = tls_context(pems, mutual)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        port.value = listener.getsockname()[1]
        while True:
            accepted, _ = listener.accept()
            with context.wrap_socket(accepted, server_side=True) as secured:
                secured.sendall(b"!")


def tls_context(pems: tuple[bytes, bytes], mutual: bool) -> ssl.SSLContext:
    certificate, key = pems
    if mutual:
        return mutual_server_context(certificate, key, [certificate], ALPN)
    return server_context(certificate, key, ALPN)


@contextmanager
def running(target: Callable[[Synchronized[int]], None]) -> Iterator[int]:
    port = multiprocessing.Value("i", 0)
    process = multiprocessing.Process(target=target, args=(port,), daemon=True)
    process.start()
    try:
        while not port.value:
            time.sleep(0.01)
        yield port.value
    finally:
        process.kill()
        process.join()


# -- clients ------------------------------------------------------------------------------------------------------


def rate(use: Callable[[], None], seconds: float) -> float:
    """Uses a second, with a few threads: what they do is mostly in the kernel or in OpenSSL."""
    counts: list[int] = []
    until = time.perf_counter() + seconds

    def repeat() -> None:
        count = 0
        while time.perf_counter() < until:
            use()
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=repeat) for _ in range(AT_ONCE)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


def connect(port: int, header: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(header + b"?")
        if client.recv(1) != b"!":
            raise RuntimeError("no answer")


def shake_hands(port: int, context: ssl.SSLContext) -> None:
    with (
        socket.create_connection(("127.0.0.1", port)) as client,
        context.wrap_socket(client, server_hostname="localhost") as secured,
    ):
        if secured.recv(1) != b"!":
            raise RuntimeError("no answer")


def in_turns(uses: dict[str, Callable[[], None]], seconds: float, rounds: int) -> dict[str, float]:
    rates: dict[str, list[float]] = {name: [] for name in uses}
    for _ in range(rounds):
        for name, use in uses.items():
            rates[name].append(rate(use, seconds))
    return {name: median(values) for name, values in rates.items()}


def report_accepting(seconds: float, rounds: int) -> None:
    with running(run_plain) as plain, running(run_proxied) as behind:
        uses = {
            "without PROXY": partial(connect, plain, b""),
            "with PROXY v2": partial(connect, behind, version2_with_tlvs()),
        }
        found = in_turns(uses, seconds, rounds)
    for name, value in found.items():
        ratio = value / found["without PROXY"]
        print(f"accept to handler, {name:17} {value:8.0f}/s  {ratio:5.2f}x without", flush=True)


def report_handshakes(seconds: float, rounds: int) -> None:
    pems = self_signed_pem("localhost")
    certificate, key = pems
    clients = {
        False: client_context([certificate], ALPN),
        True: mutual_client_context([certificate], certificate, key, ALPN),
    }
    for mutual, context in clients.items():
        with (
            running(partial(run_our_tls, pems, mutual)) as ours,
            running(partial(run_plain_tls, pems, mutual)) as plain,
        ):
            uses = {
                "ours": partial(shake_hands, ours, context),
                "plain ssl": partial(shake_hands, plain, context),
            }
            found = in_turns(uses, seconds, rounds)
        name = "mutual" if mutual else "web"
        ratio = found["ours"] / found["plain ssl"]
        print(
            f"TLS handshakes, {name:8} {found['ours']:6.0f}/s, plain {found['plain ssl']:6.0f}/s, ratio {ratio:.2f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.front_door", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2, help="for each figure")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    multiprocessing.set_start_method("fork")
    print_facts("bench.front_door")
    report_headers(options.seconds, options.rounds)
    report_accepting(options.seconds, options.rounds)
    report_handshakes(options.seconds, options.rounds)


if __name__ == "__main__":
    main()
