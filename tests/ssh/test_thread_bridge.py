# SPDX-License-Identifier: Apache-2.0
"""The bridge between a stream and a thread: everything arrives, nothing is unbounded, closing wakes everybody."""

import threading

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from mezite.ssh.limits import SshLimits
from mezite.ssh.mailbox import TrioWaker
from mezite.ssh.thread_bridge import INBOUND_BYTES, ThreadBridge


def bridge_and_peer(**limits):
    ours, peer = memory_stream_pair()
    return ThreadBridge(ours, TrioWaker(), SshLimits(**limits)), peer


async def in_thread(function, *args):
    return await trio.to_thread.run_sync(function, *args, abandon_on_cancel=True)


async def test_bytes_both_ways():
    bridge, peer = bridge_and_peer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge.run)
        await peer.send_all(b"abcde")
        assert await in_thread(bridge.recv, 3) == b"abc"
        assert await in_thread(bridge.recv, 30) == b"de"
        assert await in_thread(bridge.send, b"a") == 1
        assert bridge.send(b"b") == 1  # from Trio's own thread as well
        assert await peer.receive_some(2) in (b"a", b"ab")
        bridge.close()


async def test_receiving_stops_when_the_thread_does_not_take_it():
    bridge, peer = bridge_and_peer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge.run)
        sent = 0
        with trio.move_on_after(5):
            for _ in range(40):
                await peer.send_all(bytes(100_000))
                sent += 100_000
                await wait_all_tasks_blocked()
        assert INBOUND_BYTES <= bridge._inbound_size < INBOUND_BYTES + 200_000

        def take() -> int:
            total = 0
            while total < sent:
                total += len(bridge.recv(1 << 20))
            return total

        assert await in_thread(take) == sent
        bridge.close()


async def test_room_for_channel_data():
    bridge, peer = bridge_and_peer(outbound_bytes=1000)
    async with trio.open_nursery() as nursery:
        assert bridge.writable
        bridge.send(bytes(2000))
        assert not bridge.writable
        nursery.start_soon(bridge.wait_writable)
        await wait_all_tasks_blocked()
        nursery.start_soon(bridge.run)
        assert len(await peer.receive_some()) == 2000
        await wait_all_tasks_blocked()
        assert bridge.writable
        bridge.close()


async def test_thread_does_not_receive_while_too_much_waits_to_leave():
    bridge, peer = bridge_and_peer(reply_bytes=1000)
    bridge.settimeout(0.05)
    bridge._inbound.append(b"question")
    bridge._inbound_size += 8
    bridge.send(bytes(2000))
    with pytest.raises(TimeoutError):
        await in_thread(bridge.recv, 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge.run)
        bridge.settimeout(None)
        assert await in_thread(bridge.recv, 10) == b"question"
        bridge.close()
    del peer


async def test_end_of_file():
    bridge, peer = bridge_and_peer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge.run)
        await peer.aclose()
        assert await in_thread(bridge.recv, 1) == b""
        bridge.send(b"into nothing")
        await wait_all_tasks_blocked()
        assert bridge.closed


async def test_close_wakes_everybody_and_lets_the_last_bytes_go():
    bridge, peer = bridge_and_peer()
    ends = []

    def receive() -> None:
        try:
            bridge.recv(1)
        except EOFError:
            ends.append("thread")

    async def wait() -> None:
        await bridge.wait_writable()
        ends.append("task")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge.run)
        nursery.start_soon(in_thread, receive)
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        bridge.send(b"goodbye")
        await in_thread(bridge.close)
        bridge.close()
    assert sorted(ends) == ["task", "thread"]
    assert await peer.receive_some() == b"goodbye"
    with pytest.raises(EOFError):
        bridge.send(b"x")
    with pytest.raises(EOFError):
        bridge.recv(1)


async def test_last_bytes_have_a_deadline(autojump_clock):
    bridge, peer = bridge_and_peer(flush_seconds=2)
    peer.receive_stream.close()

    class Stuck:
        async def send_all(self, data) -> None:
            await trio.sleep_forever()

        async def receive_some(self, max_bytes) -> bytes:
            await trio.sleep_forever()

    bridge._stream = Stuck()
    bridge.send(b"x")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge.run)
        await wait_all_tasks_blocked()
        bridge.close()
    assert trio.current_time() >= 2


async def test_cancel_closes():
    bridge, _peer = bridge_and_peer()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.run)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert bridge.closed


def test_waker_after_trio_has_ended():
    wakers = []

    async def main() -> None:
        wakers.append(TrioWaker())

    trio.run(main)
    thread = threading.Thread(target=wakers[0], args=(lambda: 1 / 0,))
    thread.start()
    thread.join()
