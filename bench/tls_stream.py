# SPDX-License-Identifier: Apache-2.0
"""MB/s one way over loopback: our TlsStream, Trio's SSLStream and plain TCP, paired in one run.

    python bench/tls_stream.py [--megabytes 512] [--rounds 3]

Sender and receiver are two processes, so two cores are used, as hub and agent would. Prints the median of
each and the ratio to ``trio.SSLStream``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection

import trio

from mezite.net.tls_contexts import client_context, server_context
from mezite.net.tls_stream import TLS_CHUNK_BYTES, TlsStream
from mezite.testing.self_signed import self_signed_pem

KINDS = ("plain TCP", "trio.SSLStream", "TlsStream")


async def secure(
    kind: str, stream: trio.SocketStream, pems: tuple[bytes, bytes], *, server: bool
) -> trio.abc.Stream:
    cert, key = pems
    context = server_context(cert, key, ["bench"]) if server else client_context([cert], ["bench"])
    name = None if server else "localhost"
    if kind == "TlsStream":
        ours = TlsStream(stream, context, server_side=server, server_hostname=name)
        await ours.do_handshake()
        return ours
    if kind == "trio.SSLStream":
        theirs = trio.SSLStream(stream, context, server_side=server, server_hostname=name)
        await theirs.do_handshake()
        return theirs
    return stream


async def receive(kind: str, pems: tuple[bytes, bytes], total: int, pipe: Connection) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    pipe.send(listeners[0].socket.getsockname()[1])
    stream = await secure(kind, await listeners[0].accept(), pems, server=True)
    left, started = total, 0.0
    while left > 0:
        left -= len(await stream.receive_some(TLS_CHUNK_BYTES))
        started = started or time.perf_counter()
    pipe.send(total / (time.perf_counter() - started) / 1e6)


async def send(kind: str, pems: tuple[bytes, bytes], total: int, port: int) -> None:
    stream = await secure(kind, await trio.open_tcp_stream("127.0.0.1", port), pems, server=False)
    chunk = bytes(TLS_CHUNK_BYTES)
    for _ in range(total // len(chunk)):
        await stream.send_all(chunk)
    await stream.aclose()


def receiver_process(kind: str, pems: tuple[bytes, bytes], total: int, pipe: Connection) -> None:
    trio.run(receive, kind, pems, total, pipe)


def measure(kind: str, pems: tuple[bytes, bytes], total: int) -> float:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=receiver_process, args=(kind, pems, total, there))
    process.start()
    try:
        trio.run(send, kind, pems, total, here.recv())
        return float(here.recv())
    finally:
        process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    pems = self_signed_pem("localhost")
    total = options.megabytes * 1024 * 1024
    results: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(options.rounds):
        for kind in KINDS:
            results[kind].append(measure(kind, pems, total))
    medians = {kind: statistics.median(values) for kind, values in results.items()}
    for kind in KINDS:
        ratio = medians[kind] / medians["trio.SSLStream"]
        print(f"{kind:16} {medians[kind]:7.0f} MB/s  {ratio:5.2f}x trio.SSLStream")


if __name__ == "__main__":
    main()
