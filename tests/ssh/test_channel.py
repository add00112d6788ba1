# SPDX-License-Identifier: Apache-2.0
"""A channel by itself: windows, ends, and what is sent when."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from mezite.ssh.channel import Channel
from mezite.ssh.errors import PeerProtocolError
from mezite.ssh.receive_buffer import MERGE_BYTES, ReceiveBuffer
from mezite.ssh.wire import WireReader

WINDOW = 8000
DATA, EXTENDED, EOF, CLOSE, ADJUST = 94, 95, 96, 97, 93


class Link:
    """A connection that remembers."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.forgotten: list[Channel] = []
        self.full = False
        self.changed = trio.lowlevel.ParkingLot()

    def send(self, payload: bytes) -> None:
        self.sent.append(payload)

    def send_data(self, header: bytes, data: memoryview) -> bool:
        if not self.full:
            self.sent.append(header + bytes(data))
        return not self.full

    async def wait_sendable(self) -> None:
        await self.changed.park()

    def forget(self, channel: Channel) -> None:
        self.forgotten.append(channel)

    def data(self, kind: int = DATA) -> bytes:
        return b"".join(payload[9 + 4 * (kind == EXTENDED) :] for payload in self.sent if payload[0] == kind)

    @property
    def kinds(self) -> list[int]:
        return [payload[0] for payload in self.sent]


def open_channel(*, window: int = 100, packet: int = 10) -> tuple[Channel, Link]:
    link = Link()
    channel = Channel(link, 0, window=WINDOW)
    channel.set_remote(7, window, packet)
    return channel, link


async def test_data_is_cut_to_the_clients_packets_and_window():
    channel, link = open_channel(window=25, packet=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.send_all, b"x" * 40)
        await wait_all_tasks_blocked()
        assert [len(payload) - 9 for payload in link.sent] == [10, 10, 5]
        channel.receive_window(100)
    assert link.data() == b"x" * 40
    await channel.send_stderr(b"oops")
    assert link.data(EXTENDED) == b"oops"
    assert channel.bytes_out == 44


async def test_sender_waits_for_room_in_the_connection():
    channel, link = open_channel()
    link.full = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.send_all, b"x")
        await wait_all_tasks_blocked()
        assert link.sent == []
        link.full = False
        link.changed.unpark_all()
    assert link.data() == b"x"


async def test_receive_grants_again_what_was_read():
    channel, link = open_channel()
    channel.receive_data(b"a" * 500)
    channel.receive_data(b"b" * 600)
    assert await channel.receive_some(300) == b"a" * 300
    assert link.sent == []
    assert await channel.receive_some() == b"a" * 200 + b"b" * 600
    (adjust,) = link.sent
    reader = WireReader(adjust, 1)
    assert (adjust[0], reader.uint32(), reader.uint32()) == (ADJUST, 7, 1100)
    channel.receive_data(bytes(WINDOW))
    with pytest.raises(PeerProtocolError):
        channel.receive_data(b"x")


async def test_end_of_file_after_the_data():
    channel, _ = open_channel()
    channel.receive_data(b"last")
    channel.receive_eof()
    channel.receive_data(b"nonsense after the end")
    assert await channel.receive_some() == b"last"
    assert await channel.receive_some() == b""
    assert channel.bytes_in == 4


async def test_close_from_the_client_is_answered_and_wakes_everybody():
    channel, link = open_channel(window=0)
    broken = []

    async def expect_broken(function, *args) -> None:
        try:
            await function(*args)
        except trio.BrokenResourceError:
            broken.append(function.__name__)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_broken, channel.send_all, b"x")
        nursery.start_soon(expect_broken, channel.receive_some)
        nursery.start_soon(expect_broken, channel.wait_send_all_might_not_block)
        await wait_all_tasks_blocked()
        channel.receive_close()
    assert sorted(broken) == ["receive_some", "send_all", "wait_send_all_might_not_block"]
    assert link.kinds == [CLOSE]
    assert link.forgotten == [channel]
    await channel.aclose()
    assert link.kinds == [CLOSE]


async def test_unread_data_survives_the_clients_close():
    channel, _ = open_channel()
    channel.receive_data(b"x")
    channel.receive_close()
    assert await channel.receive_some() == b"x"
    with pytest.raises(trio.BrokenResourceError):
        await channel.receive_some()


async def test_own_close():
    channel, link = open_channel()
    channel.receive_data(b"x")
    await channel.aclose()
    channel.receive_data(b"crossed the close")
    for function, args in (
        (channel.receive_some, ()),
        (channel.send_all, (b"x",)),
        (channel.send_eof, ()),
        (channel.wait_send_all_might_not_block, ()),
    ):
        with pytest.raises(trio.ClosedResourceError):
            await function(*args)
    channel.send_request(b"late")
    channel.send_eof_nowait()
    assert (link.kinds, link.forgotten) == ([CLOSE], [])
    channel.receive_close()
    assert link.forgotten == [channel]


async def test_own_end_of_file():
    channel, link = open_channel()
    await channel.send_eof()
    await channel.send_eof()
    assert link.kinds == [EOF]
    with pytest.raises(trio.ClosedResourceError):
        await channel.send_all(b"x")


async def test_room_for_more():
    channel, _ = open_channel(window=0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.wait_send_all_might_not_block)
        await wait_all_tasks_blocked()
        channel.receive_window(1)


async def test_arguments():
    channel, _ = open_channel()
    with pytest.raises(ValueError, match="at least 1"):
        await channel.receive_some(0)
    with pytest.raises(PeerProtocolError):
        channel.set_remote(0, 0, 0)
    with pytest.raises(PeerProtocolError):
        channel.receive_window(2**32)


@given(st.lists(st.binary(max_size=3000)), st.lists(st.integers(1, 4000)))
def test_buffer_keeps_order_and_books(pieces, sizes):
    """What is granted is what was read, and never more than the window is held."""
    granted = []
    window = 16_000
    buffer = ReceiveBuffer(window, granted.append)
    fed = read = b""
    for index, piece in enumerate(pieces):
        if len(fed) + len(piece) - sum(granted) > window:
            with pytest.raises(PeerProtocolError):
                buffer.spend(len(piece))
            break
        buffer.spend(len(piece))
        buffer.append(piece)
        fed += piece
        if buffer and sizes:
            read += buffer.take(sizes[index % len(sizes)])
    while buffer:
        read += buffer.take(None)
    assert read == fed
    assert 0 <= len(read) - sum(granted) < window // 8


def test_small_pieces_are_joined():
    buffer = ReceiveBuffer(10**6, lambda count: None)
    for _ in range(10 * MERGE_BYTES):
        buffer.append(b"x")
    assert len(buffer._parts) == 10
    buffer.clear()
    assert not buffer
