# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.mux import channel_table
from mezite.core.mux.channel_state import ChannelInput, ChannelState
from mezite.core.mux.channel_table import ChannelTable, TooManyChannelsError
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.header import ChannelHeader
from mezite.core.mux.limits import MuxLimits

HEADER = ChannelHeader(kind="k")


def table(first_id: int = 1, **limits: int) -> ChannelTable:
    return ChannelTable(first_id, MuxLimits(**limits))


def test_each_side_numbers_its_own() -> None:
    dialer, accepter = table(1), table(2)
    assert [dialer.open(HEADER).channel_id for _ in range(3)] == [1, 3, 5]
    assert [accepter.open(HEADER).channel_id for _ in range(3)] == [2, 4, 6]
    assert dialer.open_count == dialer.open_ours == 3


def test_the_peers_ids_come_without_gaps() -> None:
    dialer = table(1)
    assert dialer.last_theirs == 0
    for wrong in (0, 1, 4, 3):
        with pytest.raises(RemoteProtocolError) as caught:
            dialer.claim_id(wrong)
        assert caught.value.code == ErrorCode.PROTOCOL_ERROR
    dialer.claim_id(2)
    assert dialer.last_theirs == 2
    with pytest.raises(RemoteProtocolError):
        dialer.claim_id(2)


def test_both_sides_bound_how_many_are_open() -> None:
    channels = table(max_channels=3)
    channels.open(HEADER)
    channels.allow(2, 100)
    second = channels.open(HEADER)
    with pytest.raises(TooManyChannelsError):
        channels.open(HEADER)
    channels.received(second.channel_id, ChannelInput.RECEIVE_REJECT)
    channels.allow(65536, 100)
    channels.open(HEADER)
    channels.open(HEADER)
    with pytest.raises(TooManyChannelsError):
        channels.open(HEADER)


def test_ids_are_never_used_twice() -> None:
    channels = table(channel_table.LAST_ID)
    assert channels.open(HEADER).channel_id == 2**31 - 1
    with pytest.raises(LocalProtocolError, match="used up"):
        channels.open(HEADER)


def test_settings_give_credit_to_channels_opened_ahead() -> None:
    channels = table()
    early = channels.open(HEADER)
    assert early.send_credit == 0
    channels.allow(10, 4096)
    assert early.send_credit == channels.open(HEADER).send_credit == 4096


def test_frames_on_ids_that_never_were_and_that_are_over_b2() -> None:
    channels = table(1)
    channels.open(HEADER)
    channels.received(1, ChannelInput.RECEIVE_REJECT)
    channels.claim_id(2)
    codes = {
        0: ErrorCode.UNKNOWN_CHANNEL,
        1: ErrorCode.CHANNEL_CLOSED,
        2: ErrorCode.CHANNEL_CLOSED,
        3: ErrorCode.UNKNOWN_CHANNEL,
        4: ErrorCode.UNKNOWN_CHANNEL,
    }
    for channel_id, code in codes.items():
        with pytest.raises(RemoteProtocolError) as caught:
            channels.received(channel_id, ChannelInput.RECEIVE_DATA)
        assert caught.value.code == code
    assert channels.received(1, ChannelInput.RECEIVE_RESET) is None


def test_frames_in_the_wrong_state() -> None:
    channels = table(1)
    channel = channels.open(HEADER)
    with pytest.raises(RemoteProtocolError) as caught:
        channels.received(1, ChannelInput.RECEIVE_DATA)
    assert caught.value.code == ErrorCode.PROTOCOL_ERROR
    with pytest.raises(LocalProtocolError, match="SEND_EOF in state OPENING"):
        channels.sent(channel, ChannelInput.SEND_EOF)
    assert channel.state is ChannelState.OPENING


def test_offers_are_counted_until_they_are_answered() -> None:
    channels = table(1)
    channels.claim_id(2)
    channel = channels.offer(2, HEADER)
    assert (channels.offered, channels.open_theirs) == (1, 1)
    channels.sent(channel, ChannelInput.SEND_ACCEPT)
    assert (channels.offered, channels.open_theirs) == (0, 1)
    channels.received(2, ChannelInput.RECEIVE_DATA)
    channels.received(2, ChannelInput.RECEIVE_RESET)
    assert (channels.offered, channels.open_theirs) == (0, 0)
    assert channels.get(2) is None


def test_a_closed_channel_stays_for_what_is_unread() -> None:
    channels = table(1)
    channels.claim_id(2)
    channel = channels.offer(2, HEADER)
    channels.sent(channel, ChannelInput.SEND_ACCEPT)
    channel.receive.receive(10)
    channels.received(2, ChannelInput.RECEIVE_EOF)
    channels.sent(channel, ChannelInput.SEND_EOF)
    assert channels.open_count == 0
    assert channels.existing(2) is channel
    channel.receive.consume(10)
    channels.forget_if_done(channel)
    channels.forget_if_done(channel)
    with pytest.raises(LocalProtocolError):
        channels.existing(2)


def test_who_may_send() -> None:
    channels = table(1)
    channel = channels.open(HEADER)
    with pytest.raises(LocalProtocolError, match="OPENING"):
        channels.sending(1)
    channels.received(1, ChannelInput.RECEIVE_ACCEPT)
    assert channels.sending(1) is channel
    channel.ending = True
    with pytest.raises(LocalProtocolError):
        channels.sending(1)


def test_the_end_forgets_all() -> None:
    channels = table(1)
    channel = channels.open(HEADER)
    assert channels.forget_all() == [channel]
    assert channels.open_count == 0
    assert channels.get(1) is None
