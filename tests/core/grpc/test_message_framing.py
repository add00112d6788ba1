# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.grpc.message_framing import EndOfMessages, Message, MessageReader, frame_message
from mezite.core.grpc.status import StatusCode
from mezite.core.mux.events import NEED_DATA

MESSAGES = st.lists(st.binary(max_size=40), max_size=6)


def read_all(reader):
    """Every event until the reader wants more, ends or fails; the fault as its code and text."""
    events = []
    while True:
        try:
            event = reader.next_event()
        except RemoteProtocolError as error:
            return [*events, (error.code, str(error))]
        events.append(event)
        if not isinstance(event, Message):
            return events


def feed(wire, cuts, *, max_bytes=1000, eof=True):
    """The events of that wire image, cut at those places."""
    reader = MessageReader(max_bytes)
    events = []
    places = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    for start, end in itertools.pairwise(places):
        reader.receive_data(wire[start:end])
        events += [event for event in read_all(reader) if isinstance(event, Message)]
    if eof:
        reader.receive_eof()
    return events + read_all(reader)


@given(MESSAGES, st.lists(st.integers(0, 300), max_size=20))
def test_round_trip_however_it_is_cut(messages, cuts):
    wire = b"".join(frame_message(message) for message in messages)
    assert feed(wire, cuts) == [*map(Message, messages), EndOfMessages()]


@given(st.binary(max_size=120), st.lists(st.integers(0, 120), max_size=20), st.booleans())
def test_any_bytes_give_the_same_events_however_they_are_cut(wire, cuts, eof):
    assert feed(wire, cuts, eof=eof) == feed(wire, [], eof=eof)


def test_frame_message():
    assert frame_message(b"abc") == b"\0\0\0\0\3abc"
    with pytest.raises(LocalProtocolError):
        frame_message(b"abcd", 3)


def test_the_end_repeats():
    reader = MessageReader()
    reader.receive_eof()
    assert reader.next_event() == EndOfMessages()
    assert reader.next_event() == EndOfMessages()
    with pytest.raises(LocalProtocolError):
        reader.receive_data(b"x")


def test_a_message_above_the_limit_is_told_from_its_prefix():
    """D15: nothing of it has to arrive, and nothing of it is kept."""
    reader = MessageReader(10)
    reader.receive_data(frame_message(b"ok") + b"\0\0\0\0\x0b" + b"x" * 5)
    assert reader.next_event() == Message(b"ok")
    for _ in range(2):
        with pytest.raises(RemoteProtocolError) as caught:
            reader.next_event()
        assert caught.value.code == StatusCode.RESOURCE_EXHAUSTED
    assert reader.buffered_bytes == 0
    reader.receive_data(b"more")
    assert reader.buffered_bytes == 0
    reader.receive_eof()
    with pytest.raises(RemoteProtocolError, match="above the limit"):
        reader.next_event()


@pytest.mark.parametrize(("flag", "text"), [(1, "compressed"), (2, "unknown flag"), (0x80, "unknown flag")])
def test_flags(flag, text):
    [(code, message)] = feed(bytes([flag, 0, 0, 0, 0]), [])
    assert code == StatusCode.INTERNAL
    assert text in message


@pytest.mark.parametrize("length", range(1, 8))
def test_an_end_inside_a_message(length):
    assert feed(frame_message(b"abc")[:length], []) == [
        (StatusCode.INTERNAL, "the stream ended inside a message")
    ]


def test_need_data():
    reader = MessageReader()
    assert reader.next_event() is NEED_DATA
    reader.receive_data(b"\0\0\0\0\1")
    assert reader.next_event() is NEED_DATA
    assert reader.buffered_bytes == 5
