# SPDX-License-Identifier: Apache-2.0
"""MB/s through the mux: the core alone, one side at a time; two sessions in one thread over loopback TCP; and
two processes over TLS, which is what a tunnel is.

python -m bench.mux_throughput [MB]
"""

import os
import socket
import sys
import time

import trio

from mezite.core.mux.connection import ChannelHeader, Side
from mezite.core.mux.events import ConnectionClosed, DataReceived, NeedData, SendBufferSpace
from mezite.net.mux_session import MuxSession
from mezite.net.tls_contexts import client_context, server_context
from mezite.net.tls_stream import TlsStream
from mezite.testing.mux_pair import MuxPair
from mezite.testing.self_signed import self_signed_pem

PORTION = 256 * 1024
BATCH = 264 * 1024


def core(total: int) -> tuple[float, float]:
    """Seconds that the sending and the receiving core each spent on ``total`` bytes."""
    pair = MuxPair()
    channel = pair.open(ChannelHeader(kind="bulk"))
    sender, receiver = pair.dialer, pair.accepter
    portion = memoryview(bytes(PORTION))
    clock = time.perf_counter
    sending = receiving = 0.0
    received = 0
    while received < total:
        started = clock()
        while sender.send_data(channel, bytes(portion)) == PORTION:
            pass
        batch = sender.data_to_send(BATCH)
        while isinstance(sender.next_event(), SendBufferSpace):
            pass
        now = clock()
        sending += now - started
        receiver.receive_data(batch)
        while not isinstance(event := receiver.next_event(), NeedData):
            assert not isinstance(event, ConnectionClosed), event
            if isinstance(event, DataReceived):
                received += len(event.data)
                receiver.consume(channel, len(event.data))
        back = receiver.data_to_send(BATCH)
        receiving += clock() - now
        if back:
            sender.receive_data(back)
        while not isinstance(sender.next_event(), NeedData):
            pass
    return sending, receiving


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a loopback connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right, _ = server.accept()
    return left, right


def stream_of(end: socket.socket) -> trio.SocketStream:
    return trio.SocketStream(trio.socket.from_stdlib_socket(end))


async def send(session: MuxSession, total: int) -> None:
    """Everything down one channel, then wait until the peer has read it and closes."""
    portion = bytes(PORTION)
    channel = await session.open_channel(ChannelHeader(kind="bulk"))
    for _ in range(total // PORTION):
        await channel.send_all(portion)
    await channel.send_eof()
    await channel.receive_some()


async def receive(session: MuxSession, total: int) -> float:
    """Seconds from the first byte to the last."""
    channel = await (await session.accept_channel()).accept()
    received = len(await channel.receive_some())
    started = time.perf_counter()
    while data := await channel.receive_some():
        received += len(data)
    elapsed = time.perf_counter() - started
    assert received == total // PORTION * PORTION
    await channel.aclose()
    return elapsed


async def one_thread(total: int) -> float:
    left, right = tcp_pair()
    async with trio.open_nursery() as nursery:
        dialer = MuxSession(stream_of(left), Side.DIALER)
        accepter = MuxSession(stream_of(right), Side.ACCEPTER)
        nursery.start_soon(nursery.start, dialer.run)
        await nursery.start(accepter.run)
        nursery.start_soon(send, dialer, total)
        elapsed = await receive(accepter, total)
        nursery.cancel_scope.cancel()
    return elapsed


async def one_end(end: socket.socket, side: Side, total: int) -> float:
    """One process of two: TLS, a session, and its half of the transfer."""
    certificate, key = self_signed_pem()
    if side is Side.DIALER:
        context = client_context([certificate], ["bench"])
    else:
        context = server_context(certificate, key, ["bench"])
    server_side = side is Side.ACCEPTER
    host = None if server_side else "localhost"
    tls = TlsStream(stream_of(end), context, server_side=server_side, server_hostname=host)
    await tls.do_handshake()
    elapsed = 0.0
    async with trio.open_nursery() as nursery:
        session = MuxSession(tls, side)
        await nursery.start(session.run)
        if server_side:
            elapsed = await receive(session, total)
            await session.drain()
        else:
            await send(session, total)
    return elapsed


def two_processes(total: int) -> float:
    self_signed_pem()
    left, right = tcp_pair()
    child = os.fork()
    if not child:
        right.close()
        trio.run(one_end, left, Side.DIALER, total)
        os._exit(0)
    left.close()
    elapsed = trio.run(one_end, right, Side.ACCEPTER, total)
    os.waitpid(child, 0)
    return elapsed


def main() -> None:
    total = int(sys.argv[1] if len(sys.argv) > 1 else "1000") * 1_000_000
    sending, receiving = core(total)
    print(f"core sending    {total / sending / 1e6:8.0f} MB/s")
    print(f"core receiving  {total / receiving / 1e6:8.0f} MB/s")
    print(
        f"one thread      {total / trio.run(one_thread, total) / 1e6:8.0f} MB/s (two sessions, loopback TCP)"
    )
    print(f"two processes   {total / two_processes(total) / 1e6:8.0f} MB/s (TLS 1.3, loopback TCP)")


if __name__ == "__main__":
    main()
