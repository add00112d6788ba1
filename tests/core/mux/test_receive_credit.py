# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.mux.channel import Channel
from mezite.core.mux.channel_state import ChannelState
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.flow_window import GrowthPool, ReceiveWindow
from mezite.core.mux.frame_buffer import FrameBuffer
from mezite.core.mux.frames import FrameType
from mezite.core.mux.header import ChannelHeader
from mezite.core.mux.receive_credit import MAX_PINGS, ReceiveCredit
from mezite.core.mux.send_scheduler import SendScheduler
from mezite.testing.strategies.mux import SMALL_LIMITS as LIMITS


class Side:
    """The credit of one connection and what it announces."""

    def __init__(self) -> None:
        self.sender = SendScheduler(LIMITS, space_made=lambda _: None)
        self.sender.start(4096, 2**20)
        self.pool = GrowthPool(LIMITS.window_growth)
        self.credit = ReceiveCredit(LIMITS, self.pool, self.sender)
        self.ids = iter(range(1, 100, 2))

    def channel(self, state: ChannelState = ChannelState.OPEN) -> Channel:
        window = ReceiveWindow(LIMITS.channel_window)
        return Channel(next(self.ids), True, ChannelHeader(kind="k"), window, 0, state)

    def announced(self) -> dict[int, int]:
        """Credit by channel; PINGs are answered."""
        buffer = FrameBuffer(4096)
        buffer.feed(self.sender.data_to_send(65536))
        grants = {}
        for kind, channel_id, payload in iter(buffer.next_frame, None):
            if kind == FrameType.PING:
                self.credit.trips.pong(int.from_bytes(payload))
            else:
                grants[channel_id] = int.from_bytes(payload)
        return grants


def test_what_is_consumed_is_granted_on_both_levels() -> None:
    side = Side()
    channels = [side.channel() for _ in range(4)]
    for channel in channels:
        side.credit.receive(channel, 4096)
    assert side.credit.unconsumed == 16384
    for channel in channels[:3]:
        side.credit.consume(channel, 2048)
    assert side.announced() == {channel.channel_id: 2048 for channel in channels[:3]}
    side.credit.consume(channels[3], 2048)
    assert side.announced() == {0: 8192, channels[3].channel_id: 2048}
    assert side.credit.unconsumed == 8192


def test_the_connection_has_a_credit_of_its_own_b2() -> None:
    side = Side()
    for _ in range(4):
        side.credit.receive(side.channel(), 4096)
    with pytest.raises(RemoteProtocolError) as caught:
        side.credit.receive(side.channel(), 1)
    assert caught.value.code == ErrorCode.FLOW_CONTROL


@pytest.mark.parametrize("state", [ChannelState.RECEIVE_CLOSED, ChannelState.CLOSED, ChannelState.ABORTED])
def test_a_channel_whose_peer_is_done_gets_no_credit(state: ChannelState) -> None:
    side = Side()
    channel = side.channel()
    side.credit.receive(channel, 4096)
    channel.state = state
    side.credit.consume(channel, 4096)
    assert side.announced() == {}
    assert side.credit.unconsumed == 0


def test_a_channel_that_nobody_reads_lets_its_peer_finish_and_does_not_grow() -> None:
    side = Side()
    channel = side.channel()
    side.credit.receive(channel, 4096)
    side.credit.abandon(channel)
    assert side.announced() == {channel.channel_id: 4096}
    assert channel.receive.size == 4096
    assert side.credit.unconsumed == 0


def test_a_busy_reader_makes_its_window_grow_and_gives_it_back() -> None:
    side = Side()
    channel = side.channel()
    for _ in range(3):
        credit = channel.receive.granted - channel.receive.received
        side.credit.receive(channel, credit)
        side.credit.consume(channel, credit)
        assert side.announced()[channel.channel_id] == channel.receive.size == 8192
    assert side.pool.free == 4096
    side.credit.release(channel)
    assert side.pool.free == LIMITS.window_growth
    side.credit.release(channel)
    assert side.pool.free == LIMITS.window_growth


def test_the_largest_window_asks_no_more() -> None:
    side = Side()
    channel = side.channel(ChannelState.SEND_CLOSED)
    channel.receive.size = LIMITS.channel_window_max
    side.credit.receive(channel, 4096)
    side.credit.consume(channel, 4096)
    assert side.credit.trips.sent == 0


def test_one_probe_at_a_time() -> None:
    side = Side()
    for _ in range(3):
        channel = side.channel()
        side.credit.receive(channel, 2048)
        side.credit.consume(channel, 2048)
        assert channel.receive.probe == 1
    assert side.credit.trips.sent == 1


def test_unanswered_pings_are_bounded() -> None:
    side = Side()
    for _ in range(MAX_PINGS):
        side.credit.ping()
    with pytest.raises(LocalProtocolError):
        side.credit.ping()
