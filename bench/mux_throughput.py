# SPDX-License-Identifier: Apache-2.0
"""MB/s through the mux: the core alone, one side at a time, and two sessions over loopback TCP.

python -m bench.mux_throughput [MB]
"""

import socket
import sys
import time

import trio

from mezite.core.mux.connection import ChannelHeader, Side
from mezite.core.mux.events import ConnectionClosed, DataReceived, NeedData, SendBufferSpace
from mezite.net.mux_session import MuxSession
from mezite.testing.mux_pair import MuxPair

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


async def sessions(total: int) -> float:
    """Seconds for ``total`` bytes through one channel; both sessions share this one thread."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right, _ = server.accept()
    streams = [trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in (left, right)]
    async with trio.open_nursery() as nursery:
        dialer = MuxSession(streams[0], Side.DIALER)
        accepter = MuxSession(streams[1], Side.ACCEPTER)
        nursery.start_soon(nursery.start, dialer.run)
        await nursery.start(accepter.run)
        portion = bytes(PORTION)

        async def send() -> None:
            channel = await dialer.open_channel(ChannelHeader(kind="bulk"))
            for _ in range(total // PORTION):
                await channel.send_all(portion)
            await channel.send_eof()

        nursery.start_soon(send)
        channel = await (await accepter.accept_channel()).accept()
        received = 0
        started = time.perf_counter()
        while data := await channel.receive_some():
            received += len(data)
        elapsed = time.perf_counter() - started
        assert received == total // PORTION * PORTION
        nursery.cancel_scope.cancel()
    return elapsed


def main() -> None:
    total = int(sys.argv[1] if len(sys.argv) > 1 else "1000") * 1_000_000
    sending, receiving = core(total)
    elapsed = trio.run(sessions, total)
    print(f"core sending    {total / sending / 1e6:8.0f} MB/s")
    print(f"core receiving  {total / receiving / 1e6:8.0f} MB/s")
    print(f"two sessions    {total / elapsed / 1e6:8.0f} MB/s (loopback TCP, one thread)")


if __name__ == "__main__":
    main()
