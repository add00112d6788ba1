# SPDX-License-Identifier: Apache-2.0
"""The connection as its driver sees it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.fuzz_mux_conversation import check
from mezite.core.errors import LocalProtocolError
from mezite.core.mux.connection import ChannelHeader, MuxConnection, MuxLimits, Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.events import (
    NEED_DATA,
    ChannelAccepted,
    ChannelOpened,
    ConnectionClosed,
    ConnectionReady,
    DataReceived,
    EofReceived,
    Event,
    GoAwayReceived,
    SendBufferSpace,
)
from mezite.core.mux.flow_window import GrowthPool
from mezite.core.mux.frames import FrameType, encode_frame, encode_goaway
from mezite.core.mux.settings import encode_settings
from mezite.testing.mux_pair import MuxPair, drain_events, drain_output
from mezite.testing.strategies.mux import SMALL_LIMITS, cut, cuts, wire

HEADER = ChannelHeader(kind="k")


def end_of(connection: MuxConnection) -> tuple[str, int] | None:
    """Text and code of the end, None for a peaceful one."""
    event = drain_events(connection)[-1]
    assert isinstance(event, ConnectionClosed)
    assert connection.next_event() is event
    return event.error and (str(event.error), event.error.code)


def test_a_conversation() -> None:
    pair = MuxPair()
    assert pair.exchange() == ([ConnectionReady(1)], [ConnectionReady(1)])
    one = pair.dialer.open_channel(HEADER)
    assert pair.exchange() == ([], [ChannelOpened(one, HEADER)])
    pair.accepter.accept_channel(one)
    assert pair.exchange() == ([ChannelAccepted(one)], [])
    pair.accepter.send_data(one, b"hello")
    pair.accepter.send_eof(one)
    assert pair.exchange() == ([DataReceived(one, b"hello"), EofReceived(one)], [])
    assert pair.dialer.next_event() is NEED_DATA
    assert repr(NEED_DATA) == "NEED_DATA"


def test_frames_that_concern_nobody_make_no_event() -> None:
    pair = MuxPair()
    pair.exchange()
    pair.dialer.receive_data(encode_frame(FrameType.PING, 0, bytes(8)))
    assert pair.dialer.next_event() is NEED_DATA


def test_a_channel_opened_before_the_settings_came() -> None:
    pair = MuxPair()
    one = pair.dialer.open_channel(HEADER)
    assert drain_output(pair.dialer) == encode_settings(MuxLimits())
    pair.accepter.receive_data(encode_settings(MuxLimits()))
    _, at_accepter = pair.exchange()
    assert at_accepter == [ConnectionReady(1), ChannelOpened(one, HEADER)]


def test_open_and_data_in_one_read_are_kept_until_consumed_b7() -> None:
    pair = MuxPair()
    pair.exchange()
    one = pair.dialer.open_channel(HEADER)
    pair.deliver(pair.dialer, pair.accepter)
    pair.accepter.accept_channel(one)
    pair.accepter.send_data(one, b"early")
    assert pair.deliver(pair.accepter, pair.dialer) == [ChannelAccepted(one), DataReceived(one, b"early")]
    assert pair.dialer.statistics().unconsumed == 5


def test_a_full_output_says_when_there_is_room() -> None:
    pair = MuxPair(SMALL_LIMITS)
    one = pair.open()
    assert pair.dialer.send_data(one, bytes(10_000)) == 8192
    assert pair.dialer.send_data(one, memoryview(b"x")) == 0
    at_dialer, _ = pair.exchange()
    assert at_dialer == [SendBufferSpace(one)]


def test_parts_are_what_would_be_sent_joined() -> None:
    pairs = MuxPair(), MuxPair()
    large = bytes(range(256)) * 200
    for pair in pairs:
        one = pair.open()
        pair.dialer.send_data(one, large)
        pair.dialer.send_eof(one)
    parts = pairs[0].dialer.parts_to_send(2**20)
    assert any(part is large for part in parts), "nothing large is copied"
    assert b"".join(parts) == pairs[1].dialer.data_to_send(2**20)
    assert pairs[0].dialer.parts_to_send(2**20) == []


def test_sending_needs_an_open_channel() -> None:
    pair = MuxPair()
    one = pair.dialer.open_channel(HEADER)
    for channel_id in (one, 99):
        with pytest.raises(LocalProtocolError):
            pair.dialer.send_data(channel_id, b"x")
    pair.exchange()
    pair.accepter.reject_channel(one, ErrorCode.NOT_FOUND, "no")
    pair.exchange()
    with pytest.raises(LocalProtocolError):
        pair.dialer.send_eof(one)
    with pytest.raises(LocalProtocolError):
        pair.accepter.accept_channel(one)


def test_consuming_too_much_and_too_late() -> None:
    pair = MuxPair()
    one, two = pair.open(), pair.open()
    for channel_id in (one, two):
        pair.dialer.send_data(channel_id, b"abc")
    pair.exchange()
    with pytest.raises(LocalProtocolError):
        pair.accepter.consume(one, 4)
    pair.accepter.consume(one, 3)
    pair.accepter.reset_channel(two, ErrorCode.CANCELLED, "")
    pair.accepter.consume(two, 3)
    pair.accepter.consume(99, 1)
    assert pair.accepter.statistics().unconsumed == 0


def test_goaway_stops_the_peer_from_opening_and_nobody_else() -> None:
    pair = MuxPair()
    pair.open()
    pair.accepter.send_goaway(30_000, ErrorCode.DRAINING, "restart")
    at_dialer, _ = pair.exchange()
    goaway = GoAwayReceived(last_channel=1, retry_after_ms=30_000, code=ErrorCode.DRAINING, text="restart")
    assert at_dialer == [goaway]
    with pytest.raises(LocalProtocolError, match="going away"):
        pair.dialer.open_channel(HEADER)
    two = pair.accepter.open_channel(HEADER)
    assert pair.exchange() == ([ChannelOpened(two, HEADER)], [])


def test_an_end_after_goaway_without_channels_is_peaceful() -> None:
    pair = MuxPair()
    pair.dialer.send_goaway(0, ErrorCode.NO_ERROR, "")
    pair.exchange()
    for side in (pair.dialer, pair.accepter):
        side.receive_eof()
        assert end_of(side) is None
        assert not side.has_data_to_send


@pytest.mark.parametrize("what", ["nothing said", "channel open", "half a frame"])
def test_any_other_end_is_a_loss(what: str) -> None:
    pair = MuxPair()
    pair.exchange()
    if what == "channel open":
        pair.open()
    if what != "nothing said":
        pair.dialer.send_goaway(0, ErrorCode.DRAINING, "")
    pair.exchange()
    if what == "half a frame":
        pair.dialer.receive_data(b"\4")
    pair.dialer.receive_eof()
    assert end_of(pair.dialer) == ("connection lost", ErrorCode.CONNECTION_LOST)


@pytest.mark.parametrize("text", ["newer connection", ""])
def test_the_peers_reason_is_handed_on(text: str) -> None:
    pair = MuxPair()
    pair.accepter.send_goaway(0, ErrorCode.REPLACED, text)
    pair.exchange()
    pair.dialer.receive_eof()
    assert end_of(pair.dialer) == (f"closed by the peer: {text or 'REPLACED'}", ErrorCode.REPLACED)


def test_a_peer_that_breaks_the_rules_is_told_and_nothing_else_is_sent() -> None:
    pair = MuxPair()
    one = pair.open()
    pair.dialer.send_data(one, b"never sent")
    pair.dialer.receive_data(encode_frame(FrameType.EOF, 2) + encode_frame(FrameType.EOF, 1))
    text = "RECEIVE_EOF on channel 2 in state IDLE"
    assert end_of(pair.dialer) == (text, ErrorCode.UNKNOWN_CHANNEL)
    assert drain_output(pair.dialer) == encode_goaway(0, 0, ErrorCode.UNKNOWN_CHANNEL, text)


def test_after_the_end_nothing_can_be_asked_for() -> None:
    pair = MuxPair()
    one = pair.open()
    pair.dialer.receive_eof()
    drain_events(pair.dialer)
    pair.dialer.receive_data(b"ignored")
    pair.dialer.consume(one, 1)
    pair.dialer.reset_channel(one, ErrorCode.CANCELLED, "")
    pair.dialer.close_channel(one)
    for wish in (
        lambda: pair.dialer.open_channel(HEADER),
        lambda: pair.dialer.send_data(one, b"x"),
        pair.dialer.send_ping,
        lambda: pair.dialer.send_goaway(0, ErrorCode.NO_ERROR, ""),
    ):
        with pytest.raises(LocalProtocolError):
            wish()
    assert drain_output(pair.dialer) == b""


def test_the_end_gives_growth_back_to_a_shared_pool() -> None:
    pool = GrowthPool(2**20)
    pair = MuxPair()
    pair.accepter = MuxConnection(Side.ACCEPTER, pool=pool)
    one = pair.open()
    pair.dialer.send_data(one, bytes(65536))
    pair.exchange()
    pair.accepter.consume(one, 65536)
    assert pool.free < 2**20
    pair.accepter.receive_eof()
    drain_events(pair.accepter)
    assert pool.free == 2**20


def test_a_flood_of_wishes_shows_at_the_next_event_b2() -> None:
    pair = MuxPair(SMALL_LIMITS)
    pair.exchange()
    for number in range(20):
        pair.dialer.open_channel(HEADER)
        pair.deliver(pair.dialer, pair.accepter)
        pair.accepter.reject_channel(2 * number + 1, ErrorCode.REFUSED, "x" * 256)
        pair.dialer.receive_data(encode_frame(FrameType.REJECT, 2 * number + 1, b"\0\1"))
        drain_events(pair.dialer)
        if isinstance(pair.accepter.next_event(), ConnectionClosed):
            break
    assert end_of(pair.accepter) == ("answers are not being read", ErrorCode.FLOOD)


@given(wire(), cuts())
def test_how_the_bytes_are_cut_changes_nothing(data: bytes, sizes: list[int]) -> None:
    start = encode_settings(SMALL_LIMITS)
    whole, pieces = MuxConnection(Side.ACCEPTER, SMALL_LIMITS), MuxConnection(Side.ACCEPTER, SMALL_LIMITS)
    whole.receive_data(start + data)
    expected = described(drain_events(whole))
    found: list[Event] = []
    for portion in cut(start + data, sizes):
        pieces.receive_data(portion)
        found += drain_events(pieces)
    assert described(found) == expected
    assert drain_output(pieces) == drain_output(whole)


def described(events: list[Event]) -> list[str]:
    """Comparable texts; only the first of repeated ends."""
    texts: list[str] = []
    for event in events:
        texts.append(repr(event))
        if isinstance(event, ConnectionClosed):
            break
    return texts


STEP = st.tuples(
    st.sampled_from([1, 4, 5, 6, 7, 8, 9]) | st.integers(0, 255),
    st.integers(0, 11),
    st.integers(0, 255),
    st.integers(0, 255),
)


@settings(max_examples=300)
@given(st.lists(STEP, max_size=60))
def test_a_hostile_peer_gets_nothing_but_a_remote_protocol_error_b2_b9(
    steps: list[tuple[int, int, int, int]],
) -> None:
    check(b"\1" + b"".join(map(bytes, steps)))


@given(st.binary(max_size=400))
def test_fuzz_claim(data: bytes) -> None:
    check(data)
