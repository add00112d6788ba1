# SPDX-License-Identifier: Apache-2.0
"""MB/s through the mux: the core alone, one side at a time, and two sessions over a socket pair.

python -m bench.mux_throughput [MB]
"""

import sys
import time

from mezite.core.mux.connection import ChannelHeader
from mezite.core.mux.events import ConnectionClosed, DataReceived, NeedData, SendBufferSpace
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


def main() -> None:
    total = int(sys.argv[1] if len(sys.argv) > 1 else "1000") * 1_000_000
    sending, receiving = core(total)
    print(f"core sending    {total / sending / 1e6:8.0f} MB/s")
    print(f"core receiving  {total / receiving / 1e6:8.0f} MB/s")


if __name__ == "__main__":
    main()
