# SPDX-License-Identifier: Apache-2.0
"""Every frame type, as it should come and as it should not."""

import pytest

from mezite.core.mux.connection import ChannelHeader, MuxConnection, Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.events import (
    ChannelAccepted,
    ChannelClosed,
    ChannelOpened,
    ChannelRejected,
    ChannelReset,
    ConnectionClosed,
    ConnectionReady,
    DataReceived,
    EofReceived,
    Event,
    GoAwayReceived,
    PongReceived,
)
from mezite.core.mux.frame_buffer import FrameBuffer
from mezite.core.mux.frames import (
    FrameType,
    encode_frame,
    encode_goaway,
    encode_number,
    encode_reason,
)
from mezite.core.mux.header import encode_header
from mezite.core.mux.settings import encode_settings
from mezite.testing.mux_pair import drain_events, drain_output
from mezite.testing.strategies.mux import SMALL_LIMITS as LIMITS

HEADER = ChannelHeader(kind="k")
OPEN = encode_header(HEADER)
NO = ErrorCode.REFUSED


class Peer:
    """A dialer under test, and a hand that writes frames to it."""

    def __init__(self, *, ready: bool = True) -> None:
        self.dialer = MuxConnection(Side.DIALER, LIMITS)
        if ready:
            assert self.say(encode_settings(LIMITS)) == [ConnectionReady(1)]
            self.heard()

    def say(self, *frames: bytes) -> list[Event]:
        self.dialer.receive_data(b"".join(frames))
        return drain_events(self.dialer)

    def heard(self) -> list[tuple[int, int, bytes]]:
        buffer = FrameBuffer(LIMITS.max_frame)
        buffer.feed(drain_output(self.dialer, 8192))
        return list(iter(buffer.next_frame, None))

    def fails(self, code: ErrorCode, *frames: bytes) -> None:
        event = self.say(*frames)[-1]
        assert isinstance(event, ConnectionClosed)
        assert event.error is not None
        assert event.error.code == code
        kind, channel_id, payload = self.heard()[-1]
        assert (kind, channel_id, int.from_bytes(payload[8:10])) == (FrameType.GOAWAY, 0, code)

    def open(self, *, eof_sent: bool = False) -> int:
        channel_id = self.dialer.open_channel(HEADER)
        assert self.say(encode_frame(FrameType.ACCEPT, channel_id)) == [ChannelAccepted(channel_id)]
        if eof_sent:
            self.dialer.send_eof(channel_id)
        self.heard()
        return channel_id


def data(channel_id: int, content: bytes = b"x") -> bytes:
    return encode_frame(FrameType.DATA, channel_id, content)


def eof(channel_id: int) -> bytes:
    return encode_frame(FrameType.EOF, channel_id)


def reset(channel_id: int, text: str = "") -> bytes:
    return encode_reason(FrameType.RESET, channel_id, NO, text)


def window(channel_id: int, credit: int) -> bytes:
    return encode_number(FrameType.WINDOW, channel_id, credit, 4)


@pytest.mark.parametrize("kind", set(FrameType) - {FrameType.SETTINGS, FrameType.GOAWAY})
def test_the_first_frame_is_settings(kind: FrameType) -> None:
    payload = {FrameType.OPEN: OPEN, FrameType.WINDOW: b"1234", FrameType.DATA: b"x"}.get(kind, b"")
    if kind in (FrameType.PING, FrameType.PONG):
        payload = bytes(8)
    elif kind in (FrameType.REJECT, FrameType.RESET):
        payload = bytes(2)
    Peer(ready=False).fails(ErrorCode.PROTOCOL_ERROR, encode_frame(kind, 0, payload))


def test_goaway_may_come_first() -> None:
    peer = Peer(ready=False)
    (event,) = peer.say(encode_goaway(0, 5000, ErrorCode.VERSION_UNSUPPORTED, "too old"))
    code = ErrorCode.VERSION_UNSUPPORTED
    assert event == GoAwayReceived(last_channel=0, retry_after_ms=5000, code=code, text="too old")


def test_settings_twice() -> None:
    Peer().fails(ErrorCode.PROTOCOL_ERROR, encode_settings(LIMITS))


@pytest.mark.parametrize("kind", [FrameType.PING, FrameType.PONG])
def test_frames_of_the_connection_have_no_channel(kind: FrameType) -> None:
    Peer().fails(ErrorCode.FRAME_ERROR, encode_frame(kind, 1, bytes(8)))


def test_open_is_offered_and_answered() -> None:
    peer = Peer()
    assert peer.say(encode_frame(FrameType.OPEN, 2, OPEN)) == [ChannelOpened(2, HEADER)]
    peer.dialer.accept_channel(2)
    assert peer.heard() == [(FrameType.ACCEPT, 2, b"")]
    assert peer.say(data(2), eof(2)) == [DataReceived(2, b"x"), EofReceived(2)]


def test_an_offer_that_is_withdrawn() -> None:
    peer = Peer()
    found = peer.say(encode_frame(FrameType.OPEN, 2, OPEN), reset(2, "never mind"))
    assert found == [
        ChannelOpened(2, HEADER),
        ChannelReset(channel_id=2, code=NO, text="never mind", after_eof=False),
    ]
    assert peer.heard() == [(FrameType.RESET, 2, b"\0\0")]


@pytest.mark.parametrize("channel_id", [0, 1, 4])
def test_open_with_a_wrong_id_b2(channel_id: int) -> None:
    Peer().fails(ErrorCode.PROTOCOL_ERROR, encode_frame(FrameType.OPEN, channel_id, OPEN))


def test_open_with_a_wrong_header() -> None:
    Peer().fails(ErrorCode.FRAME_ERROR, encode_frame(FrameType.OPEN, 2, b"\1\0\5k"))


def refusals(peer: Peer) -> list[tuple[int, int]]:
    return [
        (channel_id, int.from_bytes(payload[:2]))
        for kind, channel_id, payload in peer.heard()
        if kind == FrameType.REJECT
    ]


def test_the_backlog_is_bounded_b2() -> None:
    peer = Peer()
    found = peer.say(*(encode_frame(FrameType.OPEN, number, OPEN) for number in (2, 4, 6)))
    assert found == [ChannelOpened(2, HEADER), ChannelOpened(4, HEADER)]
    assert refusals(peer) == [(6, ErrorCode.BACKLOG_FULL)]


def test_open_channels_are_bounded_b2() -> None:
    peer = Peer()
    for number in (2, 4, 6, 8):
        peer.say(encode_frame(FrameType.OPEN, number, OPEN))
        peer.dialer.accept_channel(number)
    assert peer.say(encode_frame(FrameType.OPEN, 10, OPEN)) == []
    assert refusals(peer) == [(10, ErrorCode.TOO_MANY_CHANNELS)]


def test_no_channels_after_our_goaway() -> None:
    peer = Peer()
    peer.dialer.send_goaway(0, ErrorCode.DRAINING, "")
    assert peer.say(encode_frame(FrameType.OPEN, 2, OPEN)) == []
    assert refusals(peer) == [(2, ErrorCode.DRAINING)]


def test_a_million_rejected_opens_leave_nothing_b2_a8() -> None:
    peer = Peer()
    peer.dialer.send_goaway(0, ErrorCode.DRAINING, "")
    for number in range(2, 2002, 2):
        peer.say(encode_frame(FrameType.OPEN, number, OPEN))
        peer.heard()
    statistics = peer.dialer.statistics()
    assert (statistics.channels_theirs, statistics.unsent_replies) == (0, 0)


def test_reject() -> None:
    peer = Peer()
    one = peer.dialer.open_channel(HEADER)
    found = peer.say(encode_reason(FrameType.REJECT, one, NO, "not you"))
    assert found == [ChannelRejected(channel_id=one, code=NO, text="not you")]


@pytest.mark.parametrize(
    "answer", [encode_frame(FrameType.ACCEPT, 1), encode_reason(FrameType.REJECT, 1, NO, "")]
)
def test_an_answer_that_comes_after_we_gave_up(answer: bytes) -> None:
    peer = Peer()
    one = peer.dialer.open_channel(HEADER)
    peer.dialer.reset_channel(one, ErrorCode.CANCELLED, "")
    assert peer.say(answer) == []


@pytest.mark.parametrize(
    "frame",
    [
        encode_frame(FrameType.ACCEPT, 1),
        encode_reason(FrameType.REJECT, 1, NO, ""),
        data(1),
        eof(1),
        reset(1),
        window(1, 5),
        data(0),
    ],
)
def test_frames_on_a_channel_that_never_was_b2(frame: bytes) -> None:
    Peer().fails(ErrorCode.UNKNOWN_CHANNEL, frame)


@pytest.mark.parametrize(
    "frame", [encode_frame(FrameType.ACCEPT, 1), encode_reason(FrameType.REJECT, 1, NO, ""), data(1), eof(1)]
)
def test_frames_on_a_channel_that_is_over_b2(frame: bytes) -> None:
    peer = Peer()
    peer.open()
    peer.say(reset(1))
    peer.fails(ErrorCode.CHANNEL_CLOSED, frame)


def test_leftovers_on_a_channel_that_is_over_are_harmless() -> None:
    peer = Peer()
    peer.open()
    peer.say(reset(1))
    peer.heard()
    assert peer.say(reset(1), window(1, 5)) == []
    assert peer.heard() == []


@pytest.mark.parametrize(
    "frame", [encode_frame(FrameType.ACCEPT, 1), encode_reason(FrameType.REJECT, 1, NO, "")]
)
def test_frames_in_the_wrong_state(frame: bytes) -> None:
    peer = Peer()
    peer.open()
    peer.fails(ErrorCode.PROTOCOL_ERROR, frame)


def test_data_after_our_eof_still_counts() -> None:
    peer = Peer()
    one = peer.open(eof_sent=True)
    assert peer.say(data(one, b"abc"), eof(one)) == [
        DataReceived(one, b"abc"),
        EofReceived(one),
        ChannelClosed(one),
    ]


@pytest.mark.parametrize("frame", [data(1), eof(1)])
def test_data_after_eof(frame: bytes) -> None:
    peer = Peer()
    peer.open()
    peer.fails(ErrorCode.PROTOCOL_ERROR, eof(1), frame)


@pytest.mark.parametrize("eof_sent", [False, True])
def test_more_data_than_credit_b2(eof_sent: bool) -> None:
    peer = Peer()
    one = peer.open(eof_sent=eof_sent)
    assert peer.say(data(one, bytes(4096))) == [DataReceived(one, bytes(4096))]
    peer.fails(ErrorCode.FLOW_CONTROL, data(one))


def test_a_reset_channel_has_its_credit_still_b2() -> None:
    peer = Peer()
    one = peer.open()
    peer.dialer.reset_channel(one, ErrorCode.CANCELLED, "")
    assert peer.say(data(one, bytes(4096))) == []
    peer.fails(ErrorCode.FLOW_CONTROL, data(one))


def test_a_frame_that_is_too_large_b2() -> None:
    peer = Peer()
    peer.fails(ErrorCode.FRAME_TOO_LARGE, data(peer.open(), bytes(4097))[:8])


def test_text_that_is_not_a_line() -> None:
    for kind in (FrameType.REJECT, FrameType.RESET):
        Peer().fails(ErrorCode.FRAME_ERROR, encode_frame(kind, 1, b"\0\1\n"))
    Peer().fails(ErrorCode.FRAME_ERROR, encode_frame(FrameType.GOAWAY, 0, bytes(10) + b"\n"))


def test_window_lets_data_go() -> None:
    peer = Peer()
    one = peer.open()
    peer.dialer.send_data(one, bytes(5000))
    assert sum(len(payload) for _, _, payload in peer.heard()) == 4096
    assert peer.say(window(one, 904)) == []
    assert peer.heard() == [(FrameType.DATA, one, bytes(904))]


def test_window_of_the_connection_lets_data_go() -> None:
    peer = Peer()
    one = peer.open()
    peer.say(window(one, 100_000))
    sent = 0
    while taken := peer.dialer.send_data(one, bytes(8192)):
        sent += taken
        peer.heard()
    assert sent == LIMITS.connection_window + LIMITS.channel_send_buffer
    peer.say(window(0, 10_000))
    assert sum(len(payload) for _, _, payload in peer.heard()) == LIMITS.channel_send_buffer


@pytest.mark.parametrize("channel_id", [0, 1])
@pytest.mark.parametrize(
    ("credit", "code"),
    [(0, ErrorCode.FRAME_ERROR), (2**31, ErrorCode.FRAME_ERROR), (2**31 - 1, ErrorCode.FLOW_CONTROL)],
)
def test_credit_overflow_b2(channel_id: int, credit: int, code: ErrorCode) -> None:
    peer = Peer()
    peer.open()
    peer.fails(code, window(channel_id, credit))


def test_ping_is_answered_ahead_of_data() -> None:
    peer = Peer()
    one = peer.open()
    peer.dialer.send_data(one, b"x")
    assert peer.say(encode_frame(FrameType.PING, 0, b"whatever")) == []
    assert peer.heard()[0] == (FrameType.PONG, 0, b"whatever")


def test_pong_answers_our_ping_and_nothing_else() -> None:
    peer = Peer()
    token = peer.dialer.send_ping()
    pong = encode_number(FrameType.PONG, 0, token, 8)
    assert peer.say(pong) == [PongReceived(token)]
    peer.fails(ErrorCode.PROTOCOL_ERROR, pong)


def test_a_flood_of_pings_ends_the_connection_b2() -> None:
    peer = Peer()
    pings = [encode_frame(FrameType.PING, 0, bytes(8))] * (LIMITS.reply_buffer // 16 + 1)
    assert peer.say(*pings[:-1]) == []
    peer.fails(ErrorCode.FLOOD, pings[-1], pings[-1])


def test_eof_on_a_channel_that_we_close() -> None:
    peer = Peer()
    one = peer.open()
    peer.dialer.send_data(one, bytes(8192))
    peer.heard()
    peer.dialer.close_channel(one)
    assert peer.say(data(one), eof(one)) == []
    assert peer.say(reset(one)) == [ChannelClosed(one)]


def test_eof_and_reset_on_a_channel_that_we_reset_after_eof() -> None:
    peer = Peer()
    one, two = peer.open(eof_sent=True), peer.open(eof_sent=True)
    for channel_id in (one, two):
        peer.dialer.reset_channel(channel_id, ErrorCode.CANCELLED, "")
    assert peer.say(eof(one), data(two), reset(two)) == []
    assert peer.dialer.statistics().channels_ours == 0
