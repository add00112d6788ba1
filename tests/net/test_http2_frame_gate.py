# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st

from mezite.net.http2_frame_gate import CONNECTION_PREFACE, FrameGate, GoAway
from mezite.net.http2_limits import (
    DEFAULT_FRAME_RATES,
    FrameKind,
    Http2FloodError,
    Http2FrameSizeError,
    Http2GateError,
    Http2Limits,
)

LIMITS = Http2Limits()


SETTINGS = SettingsFrame(0).serialize()


def gate():
    """One that has seen the peer's SETTINGS."""
    opened = FrameGate(LIMITS, from_client=False)
    opened.pass_data(SETTINGS, 0.0)
    return opened


def frames_until_closed(frame, most=1000):
    """How many of that frame pass before the gate shuts, all at the same moment."""
    wire, closed = frame.serialize(), gate()
    for count in range(most + 1):
        try:
            closed.pass_data(wire, 0.0)
        except Http2FloodError as error:
            assert error.error_code == ErrorCodes.ENHANCE_YOUR_CALM
            return count
    return None


def data(flags=(), **fields):
    return DataFrame(1, flags=list(flags), **fields)


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (SettingsFrame(0), FrameKind.SETTINGS),
        (SettingsFrame(0, flags=["ACK"]), FrameKind.SETTINGS),
        (PingFrame(0), FrameKind.PING),
        (PingFrame(0, flags=["ACK"]), FrameKind.PING),
        (RstStreamFrame(1), FrameKind.RESET),
        (PriorityFrame(1), FrameKind.PRIORITY),
        (data(), FrameKind.EMPTY_DATA),
        (data(["PADDED"], pad_length=255), FrameKind.EMPTY_DATA),
        (GoAwayFrame(0), FrameKind.GOAWAY),
        (ExtensionFrame(0xFA, 0), FrameKind.UNKNOWN),
    ],
)
def test_a_flood_of_one_kind_is_cut_within_a_thousand_frames(frame, kind):
    """D12: rapid reset (CVE-2023-44487), ping, settings, empty DATA (CVE-2019-9512, -9515, -9518)."""
    spent = kind is FrameKind.SETTINGS
    assert frames_until_closed(frame) == DEFAULT_FRAME_RATES[kind].burst - spent


@pytest.mark.parametrize("frame", [data(data=b"x"), data(["END_STREAM"]), data(["PADDED"], data=b"x" * 300)])
def test_frames_that_carry_something_are_not_counted(frame):
    assert frames_until_closed(frame) is None


def test_window_updates_are_earned_by_what_we_send():
    """D12: data dribble, CVE-2019-9511."""
    closed = gate()
    frame = WindowUpdateFrame(0, window_increment=1).serialize()
    closed.pass_data(frame * 800, 0.0)
    closed.note_sent_frame()
    closed.pass_data(frame * 4, 0.0)
    with pytest.raises(Http2FloodError):
        closed.pass_data(frame, 0.0)


def test_thirty_two_settings_pass_and_one_more_does_not():
    """D12: 2,400 settings in one frame cost 18 ms."""
    values = {1000 + number: 1 for number in range(33)}
    closed = gate()
    closed.pass_data(SettingsFrame(0, settings=dict(list(values.items())[:32])).serialize(), 0.0)
    with pytest.raises(Http2FloodError, match="settings"):
        closed.pass_data(SettingsFrame(0, settings=values).serialize(), 0.0)


def test_continuations_are_counted_for_each_block():
    """D12: CONTINUATION flood, CVE-2024-27316, with empty frames too."""
    closed = gate()
    block = HeadersFrame(1, data=b"x").serialize() + ContinuationFrame(1, data=b"").serialize() * 8
    closed.pass_data(block * 3, 0.0)
    with pytest.raises(Http2FloodError, match="CONTINUATION"):
        closed.pass_data(ContinuationFrame(1, data=b"").serialize(), 0.0)


def test_a_header_block_is_bounded():
    closed = gate()
    closed.pass_data(HeadersFrame(1, data=b"x" * 16_384).serialize(), 0.0)
    with pytest.raises(Http2FloodError, match="header block"):
        closed.pass_data(ContinuationFrame(1, data=b"x").serialize(), 0.0)


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"\x00\x40\x01" + bytes(6), "maximum size"),
        (b"\0\0\6\4\1" + bytes(10), "acknowledgement"),
        (b"\0\0\7\7" + bytes(12), "too short"),
    ],
)
def test_frames_of_a_wrong_length(wire, text):
    with pytest.raises(Http2FrameSizeError, match=text) as caught:
        gate().pass_data(wire, 0.0)
    assert caught.value.error_code == ErrorCodes.FRAME_SIZE_ERROR


def test_goaway_out_of_place():
    """h2 does not see it, so nobody else would notice."""
    with pytest.raises(Http2GateError, match="on a stream"):
        gate().pass_data(b"\0\0\x08\7\0\0\0\0\1" + bytes(8), 0.0)
    opened = gate()
    opened.pass_data(HeadersFrame(1, data=b"h").serialize(), 0.0)
    with pytest.raises(Http2GateError, match="inside a header block"):
        opened.pass_data(GoAwayFrame(0).serialize(), 0.0)
    opened = gate()
    block = HeadersFrame(1, data=b"h").serialize() + ContinuationFrame(1, flags=["END_HEADERS"]).serialize()
    opened.pass_data(block + GoAwayFrame(0).serialize(), 0.0)
    assert len(opened.take_goaways()) == 1


@pytest.mark.parametrize("wire", [b"GET / HTTP/1.1", b"PRI * HTTP/2.1", SETTINGS, b"\0"])
def test_without_the_preface_nothing_is_a_frame(wire):
    with pytest.raises(Http2GateError, match="preface") as caught:
        FrameGate(LIMITS, from_client=True).pass_data(wire, 0.0)
    assert caught.value.error_code == ErrorCodes.PROTOCOL_ERROR


@pytest.mark.parametrize("frame", [PingFrame(0), SettingsFrame(0, flags=["ACK"]), HeadersFrame(1, data=b"h")])
def test_settings_come_first(frame):
    with pytest.raises(Http2GateError, match="not SETTINGS"):
        FrameGate(LIMITS, from_client=True).pass_data(CONNECTION_PREFACE + frame.serialize(), 0.0)


def test_goaway_is_taken_out():
    ping = PingFrame(0, opaque_data=b"12345678").serialize()
    goaway = GoAwayFrame(0, last_stream_id=7, error_code=2, additional_data=b"bye").serialize()
    opened = gate()
    assert opened.pass_data(ping + goaway + ping, 0.0) == ping + ping
    assert opened.take_goaways() == [GoAway(7, 2, b"bye")]
    assert opened.take_goaways() == []


class UnknownFrame:
    """hyperframe writes extension frames with a length of 0."""

    def serialize(self):
        return b"\0\0\3\xfa\0\0\0\0\0xyz"


FRAMES = st.one_of(
    st.builds(lambda body: data(data=body), st.binary(max_size=30)),
    st.just(PingFrame(0)),
    st.just(SettingsFrame(0, settings={1: 1})),
    st.builds(
        lambda last, text: GoAwayFrame(0, last_stream_id=last, additional_data=text),
        st.integers(0, 99),
        st.binary(max_size=9),
    ),
    st.just(UnknownFrame()),
    st.just(HeadersFrame(1, data=b"h", flags=["END_HEADERS"])),
)


@given(
    st.booleans(),
    st.lists(FRAMES, max_size=12),
    st.lists(st.integers(0, 400), max_size=20),
    st.integers(0, 20),
)
def test_the_result_does_not_depend_on_the_cuts(preface, frames, cuts, missing):
    wire = (
        (CONNECTION_PREFACE if preface else b"") + SETTINGS + b"".join(frame.serialize() for frame in frames)
    )
    wire = wire[: len(wire) - missing] if missing else wire
    whole = FrameGate(LIMITS, from_client=preface)
    pieces = FrameGate(LIMITS, from_client=preface)
    passed = whole.pass_data(wire, 0.0)
    places = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    cut_up = b"".join(pieces.pass_data(wire[start:end], 0.0) for start, end in itertools.pairwise(places))
    assert cut_up == passed
    assert pieces.take_goaways() == whole.take_goaways()
    if not missing:
        kept = [frame for frame in frames if not isinstance(frame, GoAwayFrame)]
        assert passed == wire[: 24 * preface] + SETTINGS + b"".join(frame.serialize() for frame in kept)
