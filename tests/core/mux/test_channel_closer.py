# SPDX-License-Identifier: Apache-2.0
"""How channels end, seen by two connections face to face."""

import pytest

from mezite.core.errors import LocalProtocolError
from mezite.core.mux.connection import ChannelHeader
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.events import ChannelClosed, ChannelReset, DataReceived, EofReceived
from mezite.testing.mux_pair import MuxPair
from mezite.testing.strategies.mux import SMALL_LIMITS


def reset(channel_id: int, code: ErrorCode, text: str, *, after_eof: bool) -> ChannelReset:
    return ChannelReset(channel_id=channel_id, code=code, text=text, after_eof=after_eof)


def open_counts(pair: MuxPair) -> tuple[int, int]:
    return pair.dialer.statistics().channels_ours, pair.accepter.statistics().channels_theirs


def test_closing_sends_what_is_queued_then_ends_both_directions() -> None:
    pair = MuxPair()
    one = pair.open()
    pair.dialer.send_data(one, b"last words")
    pair.dialer.close_channel(one)
    at_dialer, at_accepter = pair.exchange()
    assert at_dialer == [ChannelClosed(one)]
    assert at_accepter == [
        DataReceived(one, b"last words"),
        EofReceived(one),
        reset(one, ErrorCode.NO_ERROR, "", after_eof=True),
    ]
    pair.accepter.consume(one, 10)
    assert open_counts(pair) == (0, 0)
    assert pair.accepter.statistics().unconsumed == 0


def test_closing_after_the_peers_eof_needs_no_reset() -> None:
    pair = MuxPair()
    one = pair.open()
    pair.accepter.send_eof(one)
    pair.exchange()
    pair.dialer.close_channel(one, ErrorCode.REFUSED, "x")
    assert pair.exchange() == ([ChannelClosed(one)], [EofReceived(one), ChannelClosed(one)])
    assert open_counts(pair) == (0, 0)


def test_closing_after_our_eof_resets_at_once() -> None:
    pair = MuxPair()
    one = pair.open()
    pair.dialer.send_eof(one)
    pair.exchange()
    pair.dialer.close_channel(one, ErrorCode.CANCELLED, "enough")
    assert pair.exchange() == (
        [ChannelClosed(one)],
        [reset(one, ErrorCode.CANCELLED, "enough", after_eof=True)],
    )
    assert open_counts(pair) == (0, 0)


def test_what_arrives_at_a_closing_channel_is_dropped_and_its_credit_returned_b3() -> None:
    pair = MuxPair(SMALL_LIMITS)
    one = pair.open()
    pair.dialer.send_data(one, bytes(8192))
    pair.accepter.send_data(one, bytes(1000))
    pair.exchange()
    pair.dialer.close_channel(one)
    assert pair.dialer.statistics().unconsumed == 0
    pair.accepter.send_data(one, bytes(1000))
    pair.accepter.send_eof(one)
    at_dialer, _ = pair.exchange()
    assert at_dialer == []
    assert pair.dialer.statistics().unconsumed == 0
    pair.accepter.consume(one, 4096)
    at_dialer, at_accepter = pair.exchange()
    assert at_dialer == [ChannelClosed(one)]
    assert at_accepter[-3:] == [DataReceived(one, bytes(4096)), EofReceived(one), ChannelClosed(one)]


def test_the_peer_resets_a_closing_channel() -> None:
    pair = MuxPair(SMALL_LIMITS)
    one = pair.open()
    pair.dialer.send_data(one, bytes(8192))
    pair.exchange()
    pair.dialer.close_channel(one)
    pair.accepter.reset_channel(one, ErrorCode.CANCELLED, "no more")
    assert pair.exchange() == ([ChannelClosed(one)], [])
    assert open_counts(pair) == (0, 0)


def test_closing_what_is_closed_does_nothing() -> None:
    pair = MuxPair()
    one = pair.open()
    pair.dialer.send_data(one, b"x")
    pair.dialer.send_eof(one)
    pair.accepter.send_eof(one)
    pair.exchange()
    for _ in range(2):
        pair.accepter.close_channel(one)
        pair.dialer.close_channel(one)
    pair.dialer.close_channel(77)
    assert pair.exchange() == ([], [])


def test_closing_twice_and_after_a_reset() -> None:
    pair = MuxPair()
    one, two = pair.open(), pair.open()
    pair.dialer.close_channel(one)
    pair.dialer.close_channel(one)
    pair.dialer.reset_channel(two, ErrorCode.CANCELLED, "")
    pair.dialer.close_channel(two)
    at_dialer, _ = pair.exchange()
    assert at_dialer == [ChannelClosed(one)]


def test_only_open_channels_are_closed() -> None:
    pair = MuxPair()
    one = pair.dialer.open_channel(ChannelHeader(kind="k"))
    pair.exchange()
    for side in (pair.dialer, pair.accepter):
        with pytest.raises(LocalProtocolError, match="not open"):
            side.close_channel(one)


def test_a_reset_drops_what_is_queued_and_unread() -> None:
    pair = MuxPair(SMALL_LIMITS)
    one = pair.open()
    pair.dialer.send_data(one, bytes(8192))
    pair.exchange()
    pair.accepter.reset_channel(one, ErrorCode.INTERNAL_ERROR, "oops")
    pair.accepter.reset_channel(one, ErrorCode.INTERNAL_ERROR, "again")
    assert pair.accepter.statistics().unconsumed == 0
    at_dialer, at_accepter = pair.exchange()
    assert at_dialer == [reset(one, ErrorCode.INTERNAL_ERROR, "oops", after_eof=False)]
    assert at_accepter == []
    assert pair.dialer.statistics().unsent == 0
    assert open_counts(pair) == (0, 0)
    pair.dialer.reset_channel(one, ErrorCode.CANCELLED, "")
    assert pair.exchange() == ([], [])


def test_resets_that_cross() -> None:
    pair = MuxPair()
    one = pair.open()
    pair.accepter.reset_channel(one, ErrorCode.CANCELLED, "")
    pair.dialer.reset_channel(one, ErrorCode.CANCELLED, "")
    assert pair.exchange() == ([], [])
    assert open_counts(pair) == (0, 0)


def test_a_channel_closed_by_both_is_reset_only_to_drop_what_is_unread() -> None:
    pair = MuxPair()
    one = pair.open()
    pair.dialer.send_data(one, b"abc")
    pair.dialer.send_eof(one)
    pair.accepter.send_eof(one)
    pair.exchange()
    assert pair.accepter.statistics().unconsumed == 3
    pair.accepter.reset_channel(one, ErrorCode.CANCELLED, "")
    assert pair.accepter.statistics().unconsumed == 0
    assert pair.exchange() == ([], [])


def test_an_offer_is_rejected_not_reset() -> None:
    pair = MuxPair()
    one = pair.dialer.open_channel(ChannelHeader(kind="k"))
    pair.exchange()
    with pytest.raises(LocalProtocolError):
        pair.accepter.reset_channel(one, ErrorCode.CANCELLED, "")


def test_frames_on_the_way_to_a_reset_channel_are_ignored() -> None:
    pair = MuxPair()
    one = pair.open()
    pair.accepter.send_data(one, b"on the way")
    pair.accepter.send_eof(one)
    pair.dialer.reset_channel(one, ErrorCode.CANCELLED, "")
    assert pair.deliver(pair.accepter, pair.dialer) == []
    assert pair.dialer.statistics().unconsumed == 0
    assert open_counts(pair) == (1, 1)
    at_dialer, at_accepter = pair.exchange()
    assert at_dialer == []
    assert at_accepter == [reset(one, ErrorCode.CANCELLED, "", after_eof=False)]
    assert open_counts(pair) == (0, 0)
