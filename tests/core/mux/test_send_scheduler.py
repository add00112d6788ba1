# SPDX-License-Identifier: Apache-2.0
from itertools import count

import pytest

from mezite.core.mux.channel import Channel
from mezite.core.mux.channel_state import ChannelState
from mezite.core.mux.flow_window import ReceiveWindow
from mezite.core.mux.frame_buffer import FrameBuffer
from mezite.core.mux.frames import FrameType, encode_frame
from mezite.core.mux.header import ChannelHeader
from mezite.core.mux.limits import MuxLimits
from mezite.core.mux.send_scheduler import INTERACTIVE, SMALLEST_BATCH, SendScheduler

LIMITS = MuxLimits(
    channel_send_buffer=40_000, connection_send_buffer=100_000, send_buffer_floor=1000, max_frame=10_000
)
ROOM = 64 * 1024
IDS = count(1, 2)
RESET = encode_frame(FrameType.RESET, 9, b"\0\0")


def channel(credit: int = 2**31) -> Channel:
    made = Channel(next(IDS), True, ChannelHeader(kind="k"), ReceiveWindow(4096), credit)
    made.state = ChannelState.OPEN
    return made


class Sender:
    """A started scheduler and what it told."""

    def __init__(self, credit: int = 2**31, *, started: bool = True) -> None:
        self.space: list[Channel] = []
        self.ended: list[Channel] = []
        self.scheduler = SendScheduler(LIMITS, space_made=self.space.append)
        self.scheduler.on_eof_sent(self.ended.append)
        if started:
            self.scheduler.start(LIMITS.max_frame, credit)

    def frames(self, room: int = ROOM) -> list[tuple[int, int, int]]:
        """Type, channel and payload length of the next batch."""
        data = self.scheduler.data_to_send(room)
        assert len(data) <= room
        buffer = FrameBuffer(LIMITS.max_frame)
        buffer.feed(data)
        found = [(kind, number, len(payload)) for kind, number, payload in iter(buffer.next_frame, None)]
        assert not buffer.pending
        return found

    def queue(self, channel: Channel, size: int) -> int:
        return self.scheduler.queue_data(channel, bytes(size))


def test_control_goes_before_data() -> None:
    sender, one = Sender(), channel()
    sender.queue(one, 10)
    sender.scheduler.grant(0, 5)
    sender.scheduler.push(RESET)
    sender.scheduler.push_first(encode_frame(FrameType.GOAWAY, 0, bytes(10)))
    kinds = [kind for kind, _, _ in sender.frames()]
    assert kinds == [FrameType.GOAWAY, FrameType.RESET, FrameType.WINDOW, FrameType.DATA]
    assert not sender.scheduler.has_data


def test_until_the_settings_come_only_what_is_first_goes() -> None:
    sender, one = Sender(started=False), channel()
    sender.queue(one, 10)
    sender.scheduler.push(RESET)
    assert not sender.scheduler.has_data
    sender.scheduler.push_first(encode_frame(FrameType.SETTINGS, 0, bytes(6)))
    assert sender.scheduler.has_data
    assert sender.frames() == [(FrameType.SETTINGS, 0, 6)]
    sender.scheduler.start(100, 100)
    assert sender.frames() == [(FrameType.RESET, 9, 2), (FrameType.DATA, one.channel_id, 10)]


def test_channels_take_turns() -> None:
    sender, one, two = Sender(), channel(), channel()
    for each in (one, two):
        assert sender.queue(each, 20_000) == 20_000
    order = [number for _, number, _ in sender.frames() + sender.frames()]
    assert order == [one.channel_id, two.channel_id] * 2


def test_small_writes_overtake_bulk() -> None:
    sender, bulk, small = Sender(), channel(), channel()
    sender.queue(bulk, 40_000)
    sender.queue(small, INTERACTIVE)
    assert sender.frames()[0] == (FrameType.DATA, small.channel_id, INTERACTIVE)


def test_small_writes_take_at_most_half_while_bulk_waits() -> None:
    sender, bulk = Sender(), channel()
    sender.queue(bulk, 10_000)
    small = [channel() for _ in range(10)]
    for each in small:
        sender.queue(each, INTERACTIVE)
    first = sender.frames(20_000)
    assert bulk.channel_id in {number for _, number, _ in first}
    assert len(first) >= 3
    rest = sender.frames()
    assert {number for _, number, _ in first + rest} >= {each.channel_id for each in small}


def test_a_small_write_that_grew_is_bulk() -> None:
    sender, one, two = Sender(), channel(), channel()
    sender.queue(one, 10)
    sender.queue(one, 10_000)
    sender.queue(two, 10)
    assert [number for _, number, _ in sender.frames()] == [two.channel_id, one.channel_id, one.channel_id]


def test_no_channel_sends_more_than_its_credit_b2() -> None:
    sender, one = Sender(), channel(credit=100)
    sender.queue(one, 250)
    assert sender.frames() == [(FrameType.DATA, one.channel_id, 100)]
    assert not sender.scheduler.has_data
    one.send_credit += 200
    sender.scheduler.schedule(one)
    sender.scheduler.schedule(one)
    assert sender.frames() == [(FrameType.DATA, one.channel_id, 150)]
    assert one.send_credit == 50


def test_a_channel_without_credit_is_not_scheduled() -> None:
    sender, one = Sender(), channel(credit=0)
    sender.queue(one, 250)
    assert not sender.scheduler.has_data


def test_the_connections_credit_parks_channels_b2() -> None:
    sender, one, two = Sender(credit=100), channel(), channel()
    sender.queue(one, 250)
    sender.queue(two, 50)
    assert sender.frames() == [(FrameType.DATA, one.channel_id, 100)]
    assert sender.frames() == []
    assert not sender.scheduler.has_data
    sender.scheduler.discard(two)
    sender.scheduler.add_credit(1000)
    assert sender.frames() == [(FrameType.DATA, one.channel_id, 150)]


def test_eof_needs_no_credit_and_follows_the_data() -> None:
    sender, one, two = Sender(credit=100), channel(), channel(credit=0)
    sender.queue(one, 100)
    one.ending = two.ending = True
    sender.scheduler.schedule(two)
    found = sender.frames()
    assert found == [
        (FrameType.DATA, one.channel_id, 100),
        (FrameType.EOF, one.channel_id, 0),
        (FrameType.EOF, two.channel_id, 0),
    ]
    assert sender.ended == [one, two]


def test_a_discarded_channel_sends_nothing() -> None:
    sender, one = Sender(), channel()
    sender.queue(one, 100)
    sender.scheduler.grant(one.channel_id, 7)
    one.ending = True
    sender.scheduler.discard(one)
    assert sender.scheduler.queued == 0
    assert sender.frames() == []
    assert sender.ended == []


def test_credit_to_announce_adds_up_instead_of_queueing() -> None:
    sender = Sender()
    for _ in range(1000):
        sender.scheduler.grant(5, 3)
    assert sender.scheduler.data_to_send(ROOM).hex() == "0700000400000005" + (3000).to_bytes(4).hex()
    sender.scheduler.grant(5, 3)
    sender.scheduler.withdraw_grant(5)
    sender.scheduler.withdraw_grant(5)
    assert sender.frames() == []


def test_a_channels_buffer_is_bounded_and_says_when_there_is_room() -> None:
    sender, one = Sender(), channel(credit=15_000)
    assert sender.queue(one, 30_000) == 25_000
    assert sender.queue(one, 1) == 0
    assert sender.frames() == [
        (FrameType.DATA, one.channel_id, 10_000),
        (FrameType.DATA, one.channel_id, 5000),
    ]
    assert sender.space == [one]
    one.send_credit = 100_000
    sender.scheduler.schedule(one)
    sender.frames()
    assert sender.space == [one]


def test_a_channel_that_stays_nearly_full_is_not_woken_yet() -> None:
    sender, one = Sender(), channel(credit=1000)
    sender.queue(one, 25_000)
    sender.queue(one, 15_000)
    assert sender.frames() == [(FrameType.DATA, one.channel_id, 1000)]
    assert sender.space == []


def test_stalled_channels_leave_room_for_others_b3() -> None:
    sender = Sender()
    taken = [sender.queue(channel(credit=0), 40_000) for _ in range(100)]
    assert taken[0] == 25_000
    assert min(taken) == 1000
    assert sender.scheduler.queued <= LIMITS.connection_send_buffer + 100 * 1000


def test_answers_are_counted_and_opens_are_not_b2() -> None:
    sender = Sender()
    sender.scheduler.push(encode_frame(FrameType.OPEN, 1, bytes(4096)))
    sender.scheduler.push(RESET)
    assert sender.scheduler.reply_bytes == len(RESET)
    sender.frames()
    assert sender.scheduler.reply_bytes == 0


def test_a_batch_is_never_longer_than_asked() -> None:
    sender = Sender()
    for _ in range(10):
        sender.scheduler.push(encode_frame(FrameType.OPEN, 1, bytes(4096)))
        sender.scheduler.push_first(encode_frame(FrameType.GOAWAY, 0, bytes(260)))
    for number in range(2000):
        sender.scheduler.grant(number, 1)
    sender.queue(channel(), 20_000)
    kinds = []
    while sender.scheduler.has_data:
        kinds += [kind for kind, _, _ in sender.frames(SMALLEST_BATCH)]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        FrameType.GOAWAY: 10,
        FrameType.OPEN: 10,
        FrameType.WINDOW: 2000,
        FrameType.DATA: 4,
    }


def test_many_first_frames_hold_the_others_back() -> None:
    sender = Sender()
    for _ in range(40):
        sender.scheduler.push_first(encode_frame(FrameType.GOAWAY, 0, bytes(260)))
    sender.scheduler.push(RESET)
    assert {kind for kind, _, _ in sender.frames(SMALLEST_BATCH)} == {FrameType.GOAWAY}
    assert sender.frames(SMALLEST_BATCH)[-1][0] == FrameType.RESET


def test_a_batch_has_a_smallest_size() -> None:
    with pytest.raises(ValueError, match="8192"):
        Sender().scheduler.data_to_send(8191)


def test_the_end_leaves_the_last_words_only() -> None:
    sender = Sender(started=False)
    settings, last = (
        encode_frame(FrameType.SETTINGS, 0, bytes(6)),
        encode_frame(FrameType.GOAWAY, 0, bytes(10)),
    )
    sender.scheduler.push_first(settings)
    sender.scheduler.push_first(last)
    sender.scheduler.push(RESET)
    sender.scheduler.finish(last)
    assert sender.scheduler.data_to_send(ROOM) == settings + last
    assert not sender.scheduler.has_data
    sender = Sender()
    sender.queue(channel(), 10)
    sender.scheduler.finish(None)
    assert not sender.scheduler.has_data
    assert sender.scheduler.queued == 0


def test_without_a_listener_an_eof_goes_out_too() -> None:
    scheduler = SendScheduler(LIMITS, space_made=lambda _: None)
    scheduler.start(100, 100)
    one = channel()
    one.ending = True
    scheduler.schedule(one)
    assert scheduler.data_to_send(ROOM) == encode_frame(FrameType.EOF, one.channel_id)
