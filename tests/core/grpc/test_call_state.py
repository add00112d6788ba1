# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.grpc.call_state import (
    CallEnded,
    CallRole,
    CallShape,
    CallStarted,
    CallTarget,
    GrpcCall,
    MessageReceived,
    RequestEnded,
    ResponseStarted,
    is_grpc_content_type,
)
from mezite.core.grpc.message_framing import frame_message
from mezite.core.grpc.metadata import Metadata
from mezite.core.grpc.status import Status, StatusCode
from mezite.core.mux.events import NEED_DATA

TARGET = CallTarget(path="/s.S/M", authority="hub", user_agent="test")
STREAMS = CallShape(request_streaming=True, response_streaming=True)
REQUEST = [(b":method", b"POST"), (b":path", b"/s.S/M"), (b"content-type", b"application/grpc")]
RESPONSE = [(b":status", b"200"), (b"content-type", b"application/grpc")]
OK = [(b"grpc-status", b"0")]


def server(shape=None):
    return GrpcCall(CallRole.SERVER, shape or CallShape())


def client(shape=None):
    call = GrpcCall(CallRole.CLIENT, shape or CallShape())
    call.send_request(TARGET)
    return call


def events_of(call):
    """All events up to the one that repeats; a fault as its code."""
    events = []
    while True:
        try:
            event = call.next_event()
        except RemoteProtocolError as error:
            return [*events, StatusCode(error.code)]
        if event is NEED_DATA or (events and events[-1] == event):
            return events
        events.append(event)


@given(
    st.lists(st.binary(max_size=30), max_size=4),
    st.lists(st.binary(max_size=30), max_size=4),
    st.sampled_from(StatusCode),
    st.integers(1, 40),
)
def test_two_sides_agree(requests, responses, code, piece):
    """A streaming call between two cores over a pretend wire, however its bytes are cut."""
    ours, theirs = client(STREAMS), server(STREAMS)
    theirs.receive_headers(GrpcCall(CallRole.CLIENT).send_request(TARGET, [("k", "v")], timeout=2.0))
    body = b"".join(ours.send_message(message) for message in requests)
    for start in range(0, len(body), piece):
        theirs.receive_data(body[start : start + piece])
    ours.send_request_end()
    theirs.receive_eof()
    metadata = Metadata((("k", "v"),))
    assert theirs.next_event() == CallStarted(metadata, 2.0)
    assert [theirs.next_event() for _ in requests] == [MessageReceived(message) for message in requests]
    assert theirs.next_event() == theirs.next_event() == RequestEnded()

    ours.receive_headers(theirs.send_response([("r", "1")]))
    body = b"".join(theirs.send_message(message) for message in responses)
    for start in range(0, len(body), piece):
        ours.receive_data(body[start : start + piece])
    status = Status(code, "weil nœud")
    ours.receive_trailers(theirs.send_status(status, [("t-bin", b"\0")]))
    assert ours.next_event() == ResponseStarted(Metadata((("r", "1"),)))
    assert [ours.next_event() for _ in responses] == [MessageReceived(message) for message in responses]
    ended = CallEnded(status, Metadata((("t-bin", b"\0"),)))
    assert ours.next_event() == ours.next_event() == ended


def test_request_fields():
    fields = dict(GrpcCall(CallRole.CLIENT).send_request(TARGET, [("a", "b")], timeout=1))
    assert fields[b":path"] == b"/s.S/M"
    assert fields[b":authority"] == b"hub"
    assert fields[b"te"] == b"trailers"
    assert fields[b"grpc-timeout"] == b"1000000u"
    assert fields[b"user-agent"] == b"test"
    assert fields[b"a"] == b"b"
    bare = dict(GrpcCall(CallRole.CLIENT).send_request(CallTarget(path="/s.S/M", authority="hub")))
    assert not {b"grpc-timeout", b"user-agent"} & bare.keys()


def test_a_status_alone():
    call = server()
    fields = call.send_status(Status(StatusCode.NOT_FOUND, "no"))
    assert dict(fields)[b":status"] == b"200"
    ours = client()
    ours.receive_headers(fields, end_stream=True)
    assert ours.next_event() == CallEnded(Status(StatusCode.NOT_FOUND, "no"))


def test_a_status_after_a_response_has_no_second_head():
    call = server()
    call.send_response()
    call.send_message(b"x")
    assert call.send_status(Status(StatusCode.OK)) == OK


# -- faults of our side ---------------------------------------------------------------------------


def test_our_own_wrong_order_is_refused_and_changes_nothing():
    call = server()
    with pytest.raises(LocalProtocolError):
        call.send_message(b"x")
    call.send_response()
    with pytest.raises(LocalProtocolError):
        call.send_response()
    call.send_message(b"x")
    with pytest.raises(LocalProtocolError):
        call.send_message(b"y")
    with pytest.raises(LocalProtocolError):
        call.send_status(Status(StatusCode.OK), [("grpc-x", "y")])
    call.send_status(Status(StatusCode.OK))
    with pytest.raises(LocalProtocolError):
        call.send_status(Status(StatusCode.OK))


def test_nothing_to_report_yet():
    assert server().next_event() is NEED_DATA


def test_a_request_cannot_end_before_it_began():
    call = GrpcCall(CallRole.CLIENT)
    with pytest.raises(LocalProtocolError):
        call.send_request_end()
    call.send_request(TARGET)
    call.send_request_end()


def test_our_messages_keep_the_limit():
    call = client(CallShape(max_request_bytes=3))
    with pytest.raises(LocalProtocolError):
        call.send_message(b"four")
    assert call.send_message(b"abc") == b"\0\0\0\0\3abc"


# -- faults of the peer ---------------------------------------------------------------------------


def test_a_timeout_that_is_malformed():
    call = server()
    call.receive_headers([*REQUEST, (b"grpc-timeout", b"soon")])
    assert events_of(call) == [StatusCode.INTERNAL]


def test_compression_is_not_spoken():
    call = server()
    call.receive_headers([*REQUEST, (b"grpc-encoding", b"gzip")])
    assert events_of(call) == [StatusCode.UNIMPLEMENTED]
    plain = server()
    plain.receive_headers([*REQUEST, (b"grpc-encoding", b"identity")])
    assert isinstance(plain.next_event(), CallStarted)


def test_headers_twice():
    call = server()
    call.receive_headers(REQUEST)
    call.receive_headers(REQUEST)
    assert events_of(call)[-1] is StatusCode.INTERNAL


def test_data_before_headers():
    call = server()
    call.receive_data(b"x")
    assert events_of(call) == [StatusCode.INTERNAL]
    call.receive_headers([(b"x", b"\xff")])
    assert events_of(call) == [StatusCode.INTERNAL]


@pytest.mark.parametrize(
    ("body", "messages"), [(b"", 0), (frame_message(b"a") + frame_message(b"b"), 1), (b"\0\0", 0)]
)
def test_a_unary_request_holds_one_message(body, messages):
    call = server()
    call.receive_headers(REQUEST)
    call.receive_data(body)
    call.receive_eof()
    events = events_of(call)
    assert isinstance(events[0], CallStarted)
    assert events[1:-1] == [MessageReceived(b"a")] * messages
    assert events[-1] is StatusCode.INTERNAL


def test_trailers_of_a_request_are_its_end():
    call = server()
    call.receive_headers(REQUEST)
    call.receive_data(frame_message(b"a"))
    call.receive_trailers([(b"whatever", b"1")])
    call.receive_eof()
    assert events_of(call)[1:] == [MessageReceived(b"a"), RequestEnded()]


def test_a_response_without_a_status():
    call = client()
    call.receive_headers(RESPONSE)
    call.receive_data(frame_message(b"a"))
    call.receive_eof()
    assert events_of(call)[1:] == [MessageReceived(b"a"), StatusCode.INTERNAL]


def test_trailers_without_a_status():
    call = client()
    call.receive_headers(RESPONSE)
    call.receive_trailers([(b"x", b"y")])
    assert call.next_event() == ResponseStarted(Metadata())
    ended = call.next_event()
    assert isinstance(ended, CallEnded)
    assert ended.status.code is StatusCode.UNKNOWN


def test_an_ok_response_holds_one_message():
    call = client()
    call.receive_headers(RESPONSE)
    call.receive_trailers(OK)
    assert events_of(call)[1:] == [StatusCode.INTERNAL]


def test_a_failed_response_needs_no_message():
    call = client()
    call.receive_headers(RESPONSE)
    call.receive_trailers([(b"grpc-status", b"7")])
    assert events_of(call)[1:] == [CallEnded(Status(StatusCode.PERMISSION_DENIED))]


@pytest.mark.parametrize("end_stream", [True, False])
def test_an_answer_from_something_else_than_grpc(end_stream):
    call = client()
    call.receive_headers([(b":status", b"502"), (b"content-type", b"text/html")], end_stream=end_stream)
    [ended] = events_of(call)
    assert ended.status.code is StatusCode.UNAVAILABLE
    call.receive_data(b"<html>")
    call.receive_trailers(OK)
    call.receive_eof()
    assert events_of(call) == [ended]


def test_an_answer_of_another_content_type():
    call = client()
    call.receive_headers([(b":status", b"200"), (b"content-type", b"text/html")])
    assert events_of(call) == [StatusCode.UNKNOWN]


def test_malformed_trailers():
    call = client()
    call.receive_headers(RESPONSE)
    call.receive_trailers([*OK, (b"k", b"\xff")])
    assert events_of(call)[-1] is StatusCode.INTERNAL


def test_trailers_twice_and_data_behind_them():
    call = client()
    call.receive_headers(RESPONSE)
    call.receive_data(frame_message(b"a"))
    call.receive_trailers(OK)
    before = events_of(call)
    call.receive_trailers([(b"grpc-status", b"5")])
    call.receive_data(b"x")
    assert events_of(call) == before[-1:]


def test_a_response_that_ends_inside_a_message():
    call = client()
    call.receive_headers(RESPONSE)
    call.receive_data(b"\0\0")
    call.receive_trailers(OK)
    assert events_of(call)[1:] == [StatusCode.INTERNAL]


# -- resets ---------------------------------------------------------------------------------------


def test_a_reset_ends_either_side():
    for call in (client(), server()):
        call.receive_reset(0x8)
        assert call.next_event() == call.next_event()
        assert call.next_event().status.code is StatusCode.CANCELLED
        with pytest.raises(LocalProtocolError):
            call.send_message(b"x")


def test_a_reset_after_the_status_changes_nothing():
    """RFC 9113 section 8.1: the server stops a client that still uploads with NO_ERROR."""
    call = client()
    call.receive_headers([*RESPONSE, (b"grpc-status", b"5")], end_stream=True)
    call.receive_reset(0)
    assert call.next_event().status.code is StatusCode.NOT_FOUND


def test_a_reset_after_a_fault_changes_nothing():
    call = server()
    call.receive_data(b"x")
    call.receive_reset(0x8)
    assert events_of(call) == [StatusCode.INTERNAL]


@pytest.mark.parametrize(
    ("value", "known"),
    [
        (b"application/grpc", True),
        (b"application/grpc+proto", True),
        (b"application/grpc; charset=utf-8", True),
        (b"application/grpc+json", False),
        (b"application/grpc-web", False),
        (b"text/plain", False),
        (b"application/grpc\n", False),
        (None, False),
    ],
)
def test_content_types(value, known):
    assert is_grpc_content_type(value) is known
