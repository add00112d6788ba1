# SPDX-License-Identifier: Apache-2.0
"""Conformance, part two: what RFC 9113 says has to happen when a client breaks its rules, and what it may ignore."""

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from mezite.net.http2_frame_gate import CONNECTION_PREFACE
from tests.net.h2spec import (
    BODY,
    GET,
    OPEN,
    PAUSE,
    POST,
    TOKEN,
    WHOLE,
    Alive,
    Answered,
    Case,
    block,
    broken,
    check,
    goaway,
    headers,
    play,
    raw,
)

# Types and settings by number, for frames that hyperframe would not write (RFC 9113 section 6).
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
UNKNOWN = 0xF7
END_STREAM, END_HEADERS, PADDED, ACK = 0x1, 0x4, 0x8, 0x1

POSTED = headers(fields=POST, flags=OPEN)
UNREAD = headers(fields=[*POST[:2], (b":path", b"/unread"), POST[3]], flags=OPEN)
END = ["END_STREAM"]
BLOCK = block(GET)
EMPTY_SETTINGS = SettingsFrame(0).serialize()
CANCELLED = RstStreamFrame(1, error_code=ErrorCodes.CANCEL)
ANSWERED = [headers(), PAUSE]
HALF_A_BLOCK = headers(fields=BLOCK[:5], flags=END)
REST_OF_BLOCK = ContinuationFrame(1, data=BLOCK[5:], flags=OPEN)
ONE_BYTE = SettingsFrame(0, settings={4: 1})

OPENING = [
    Case(
        "3.4",
        "a request of HTTP/1.1",
        [],
        goaway("PROTOCOL_ERROR"),
        b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n" * 2,
    ),
    Case(
        "3.4",
        "a wrong byte in the preface",
        [],
        goaway("PROTOCOL_ERROR"),
        CONNECTION_PREFACE[:-3] + b"x\r\n" + EMPTY_SETTINGS,
    ),
    Case("3.4", "no preface", [], goaway("PROTOCOL_ERROR"), EMPTY_SETTINGS * 4),
    Case(
        "3.4",
        "a request ahead of SETTINGS",
        [],
        goaway("PROTOCOL_ERROR"),
        CONNECTION_PREFACE + headers().serialize(),
    ),
    Case(
        "3.4",
        "a PING ahead of SETTINGS",
        [],
        goaway("PROTOCOL_ERROR"),
        CONNECTION_PREFACE + PingFrame(0).serialize(),
    ),
    Case(
        "3.4",
        "an acknowledgement ahead of SETTINGS",
        [],
        goaway("PROTOCOL_ERROR"),
        CONNECTION_PREFACE + raw(SETTINGS, flags=ACK),
    ),
]

FRAMES = [
    Case("4.1", "a frame of unknown type", [raw(UNKNOWN, b"12345678"), headers()], Answered()),
    Case("4.1", "a frame of unknown type on a stream", [raw(UNKNOWN, b"x", stream=1), headers()], Answered()),
    Case("4.1", "unknown flags", [raw(PING, b"12345678", flags=0xFE)], Alive()),
    Case("4.1", "the reserved bit", [raw(PING, b"12345678", stream=0x80000000)], Alive()),
    Case(
        "4.1",
        "the reserved bit of a request",
        [raw(HEADERS, BLOCK, flags=END_STREAM | END_HEADERS, stream=0x80000001)],
        Answered(),
    ),
    Case(
        "4.2",
        "DATA above the largest size",
        [POSTED, DataFrame(1, data=bytes(2**14 + 1), flags=END)],
        broken("FRAME_SIZE_ERROR"),
    ),
    Case(
        "4.2",
        "HEADERS above the largest size",
        [raw(HEADERS, bytes(2**14 + 1), flags=END_HEADERS, stream=1)],
        goaway("FRAME_SIZE_ERROR"),
    ),
    Case(
        "4.2", "SETTINGS above the largest size", [raw(SETTINGS, bytes(6 * 2731))], goaway("FRAME_SIZE_ERROR")
    ),
    Case(
        "4.2",
        "a frame of unknown type above the largest size",
        [raw(UNKNOWN, bytes(2**14 + 1))],
        goaway("FRAME_SIZE_ERROR"),
    ),
    Case(
        "4.2",
        "the announcement of the longest frame there can be",
        [raw(DATA, stream=1, length=2**24 - 1)],
        goaway("FRAME_SIZE_ERROR"),
    ),
    Case(
        "4.3",
        "a block that cannot be decoded",
        [headers(fields=b"\xff\xff\xff\xff\xff\xff")],
        goaway("COMPRESSION_ERROR"),
    ),
    Case(
        "4.3",
        "PRIORITY inside a block",
        [HALF_A_BLOCK, PriorityFrame(1), REST_OF_BLOCK],
        goaway("PROTOCOL_ERROR"),
    ),
    Case(
        "4.3",
        "HEADERS of another stream inside a block",
        [HALF_A_BLOCK, headers(3)],
        goaway("PROTOCOL_ERROR"),
    ),
]

STREAMS = [
    Case("5.1", "DATA on an idle stream", [DataFrame(1, data=b"x", flags=END)], goaway("PROTOCOL_ERROR")),
    Case("5.1", "RST_STREAM on an idle stream", [CANCELLED], goaway("PROTOCOL_ERROR")),
    Case(
        "5.1",
        "WINDOW_UPDATE on an idle stream",
        [WindowUpdateFrame(1, window_increment=1)],
        goaway("PROTOCOL_ERROR"),
    ),
    Case(
        "5.1",
        "CONTINUATION on an idle stream",
        [ContinuationFrame(1, data=BLOCK, flags=OPEN)],
        goaway("PROTOCOL_ERROR"),
    ),
    Case(
        "5.1", "DATA on a half-closed stream", [headers(), DataFrame(1, data=b"x")], broken("STREAM_CLOSED")
    ),
    Case("5.1", "HEADERS on a half-closed stream", [headers(), headers()], broken("STREAM_CLOSED")),
    Case(
        "5.1",
        "CONTINUATION on a half-closed stream",
        [headers(), ContinuationFrame(1, data=BLOCK, flags=OPEN)],
        broken("STREAM_CLOSED", "PROTOCOL_ERROR"),
    ),
    Case(
        "5.1", "DATA behind RST_STREAM", [POSTED, CANCELLED, DataFrame(1, data=b"x")], broken("STREAM_CLOSED")
    ),
    Case("5.1", "HEADERS behind RST_STREAM", [POSTED, CANCELLED, headers()], broken("STREAM_CLOSED")),
    Case(
        "5.1",
        "CONTINUATION behind RST_STREAM",
        [POSTED, CANCELLED, ContinuationFrame(1, data=BLOCK, flags=OPEN)],
        broken("STREAM_CLOSED", "PROTOCOL_ERROR"),
    ),
    Case("5.1", "DATA on a closed stream", [*ANSWERED, DataFrame(1, data=b"x")], broken("STREAM_CLOSED")),
    Case("5.1", "HEADERS on a closed stream", [*ANSWERED, headers()], broken("STREAM_CLOSED")),
    Case(
        "5.1",
        "CONTINUATION on a closed stream",
        [*ANSWERED, ContinuationFrame(1, data=BLOCK, flags=OPEN)],
        broken("STREAM_CLOSED", "PROTOCOL_ERROR"),
    ),
    Case("5.1.1", "a stream with an even number", [headers(2)], goaway("PROTOCOL_ERROR")),
    Case("5.1.1", "a number lower than the last", [headers(5), headers(3)], goaway("PROTOCOL_ERROR")),
    Case(
        "5.1.1",
        "a number lower than the last, which is closed",
        [headers(5), PAUSE, headers(3)],
        goaway("PROTOCOL_ERROR", "STREAM_CLOSED"),
    ),
    Case(
        "5.1.2",
        "more streams than allowed",
        [headers(2 * n + 1, POST, OPEN) for n in range(101)],
        broken("PROTOCOL_ERROR", "REFUSED_STREAM", stream=201),
    ),
    Case(
        "5.4.1",
        "no stream is served behind a connection error",
        [raw(PING, b"1234567"), headers()],
        goaway("FRAME_SIZE_ERROR"),
    ),
    Case(
        "5.5",
        "a frame of unknown type inside a block",
        [HALF_A_BLOCK, raw(UNKNOWN, b"x", stream=1), REST_OF_BLOCK],
        goaway("PROTOCOL_ERROR"),
    ),
]

DEFINITIONS = [
    Case(
        "6.1",
        "DATA on stream 0",
        [DataFrame(1, data=b"x").serialize()[:8] + b"\0" + b"x"],
        goaway("PROTOCOL_ERROR"),
    ),
    Case(
        "6.1",
        "as much padding as payload",
        [POSTED, raw(DATA, b"\x05abcd", flags=PADDED | END_STREAM, stream=1)],
        goaway("PROTOCOL_ERROR"),
    ),
    Case(
        "6.1",
        "padded DATA without the length of it",
        [POSTED, raw(DATA, flags=PADDED | END_STREAM, stream=1)],
        goaway("PROTOCOL_ERROR", "FRAME_SIZE_ERROR"),
    ),
    Case(
        "6.2",
        "HEADERS on stream 0",
        [raw(HEADERS, BLOCK, flags=END_STREAM | END_HEADERS)],
        goaway("PROTOCOL_ERROR"),
    ),
    Case(
        "6.2",
        "more padding than payload in HEADERS",
        [raw(HEADERS, bytes([len(BLOCK) + 1]) + BLOCK, flags=PADDED | END_STREAM | END_HEADERS, stream=1)],
        goaway("PROTOCOL_ERROR"),
    ),
    Case("6.2", "PING inside a block", [HALF_A_BLOCK, PingFrame(0), REST_OF_BLOCK], goaway("PROTOCOL_ERROR")),
    Case(
        "6.2",
        "DATA inside a block",
        [headers(fields=BLOCK[:5], flags=()), DataFrame(1, data=b"x")],
        goaway("PROTOCOL_ERROR"),
    ),
    Case("6.3", "PRIORITY on stream 0", [raw(PRIORITY, bytes(5))], goaway("PROTOCOL_ERROR")),
    Case(
        "6.3",
        "PRIORITY that is too short",
        [POSTED, raw(PRIORITY, bytes(4), stream=1)],
        broken("FRAME_SIZE_ERROR"),
    ),
    Case(
        "6.3",
        "PRIORITY that is too long",
        [POSTED, raw(PRIORITY, bytes(6), stream=1)],
        broken("FRAME_SIZE_ERROR"),
    ),
    Case("6.4", "RST_STREAM on stream 0", [raw(RST_STREAM, bytes(4))], goaway("PROTOCOL_ERROR")),
    Case(
        "6.4",
        "RST_STREAM that is too short",
        [POSTED, raw(RST_STREAM, bytes(3), stream=1)],
        goaway("FRAME_SIZE_ERROR"),
    ),
    Case(
        "6.4",
        "RST_STREAM that is too long",
        [POSTED, raw(RST_STREAM, bytes(5), stream=1)],
        goaway("FRAME_SIZE_ERROR"),
    ),
    Case(
        "6.5",
        "an acknowledgement with a payload",
        [raw(SETTINGS, bytes(6), flags=ACK)],
        goaway("FRAME_SIZE_ERROR"),
    ),
    Case("6.5", "SETTINGS on a stream", [POSTED, raw(SETTINGS, stream=1)], goaway("PROTOCOL_ERROR")),
    Case("6.5", "SETTINGS of half a setting", [raw(SETTINGS, bytes(3))], goaway("FRAME_SIZE_ERROR")),
    Case("6.5", "SETTINGS of a setting and a half", [raw(SETTINGS, bytes(9))], goaway("FRAME_SIZE_ERROR")),
    Case("6.5.2", "ENABLE_PUSH of 2", [SettingsFrame(0, settings={2: 2})], goaway("PROTOCOL_ERROR")),
    Case(
        "6.5.2",
        "a window above the largest",
        [SettingsFrame(0, settings={4: 2**31})],
        goaway("FLOW_CONTROL_ERROR"),
    ),
    Case(
        "6.5.2",
        "a frame size below the smallest",
        [SettingsFrame(0, settings={5: 2**14 - 1})],
        goaway("PROTOCOL_ERROR"),
    ),
    Case(
        "6.5.2",
        "a frame size above the largest",
        [SettingsFrame(0, settings={5: 2**24})],
        goaway("PROTOCOL_ERROR"),
    ),
    Case(
        "6.5.2",
        "the extremes that are allowed",
        [SettingsFrame(0, settings={1: 2**32 - 1, 2: 1, 3: 0, 4: 2**31 - 1, 5: 2**24 - 1, 6: 2**32 - 1})],
        Alive(),
    ),
    Case("6.5.2", "an unknown setting", [SettingsFrame(0, settings={0xFFFE: 7}), headers()], Answered()),
    Case(
        "6.5.3",
        "the same setting twice: the last one holds",
        [raw(SETTINGS, b"\0\4\0\0\0\1" + b"\0\4\0\0\0\3"), headers()],
        Alive(BODY[:3]),
    ),
    Case(
        "6.5.3",
        "settings in several frames: the last one holds",
        [ONE_BYTE, SettingsFrame(0, settings={4: 2}), headers()],
        Alive(BODY[:2]),
    ),
    Case(
        "6.6",
        "PUSH_PROMISE from a client",
        [POSTED, PushPromiseFrame(1, promised_stream_id=2, data=BLOCK, flags=OPEN)],
        goaway("PROTOCOL_ERROR"),
    ),
    Case(
        "6.6",
        "PUSH_PROMISE on stream 0",
        [raw(PUSH, b"\0\0\0\2" + BLOCK, flags=END_HEADERS)],
        goaway("PROTOCOL_ERROR"),
    ),
    Case("6.7", "PING on a stream", [raw(PING, bytes(8), stream=1)], goaway("PROTOCOL_ERROR")),
    Case("6.7", "PING that is too short", [raw(PING, bytes(6))], goaway("FRAME_SIZE_ERROR")),
    Case("6.7", "PING that is too long", [raw(PING, bytes(9))], goaway("FRAME_SIZE_ERROR")),
    Case(
        "6.7", "an answer nobody asked for", [PingFrame(0, opaque_data=b"unasked!", flags=["ACK"])], Alive()
    ),
    Case("6.8", "GOAWAY on a stream", [POSTED, raw(GOAWAY, bytes(8), stream=1)], goaway("PROTOCOL_ERROR")),
    Case("6.8", "GOAWAY that is too short", [raw(GOAWAY, bytes(7))], goaway("FRAME_SIZE_ERROR")),
    Case(
        "6.8",
        "GOAWAY inside a block",
        [HALF_A_BLOCK, GoAwayFrame(0), REST_OF_BLOCK],
        goaway("PROTOCOL_ERROR"),
    ),
    Case(
        "6.8",
        "GOAWAY with words",
        [POSTED, GoAwayFrame(0, additional_data=b"bye"), DataFrame(1, flags=END)],
        Answered(last=True),
    ),
    Case(
        "6.9",
        "WINDOW_UPDATE of nothing for the connection",
        [WindowUpdateFrame(0, window_increment=1).serialize()[:-4] + bytes(4)],
        goaway("PROTOCOL_ERROR"),
    ),
    Case(
        "6.9",
        "WINDOW_UPDATE of nothing for a stream",
        [POSTED, raw(WINDOW_UPDATE, bytes(4), stream=1)],
        broken("PROTOCOL_ERROR"),
    ),
    Case(
        "6.9", "WINDOW_UPDATE that is too short", [raw(WINDOW_UPDATE, bytes(3))], goaway("FRAME_SIZE_ERROR")
    ),
    Case("6.9", "WINDOW_UPDATE that is too long", [raw(WINDOW_UPDATE, bytes(5))], goaway("FRAME_SIZE_ERROR")),
    Case("6.9.1", "a window of one byte", [ONE_BYTE, headers()], Alive(BODY[:1])),
    Case("6.9.1", "a window of nothing", [SettingsFrame(0, settings={4: 0}), headers()], Alive(b"")),
    Case(
        "6.9.1",
        "a window of the connection beyond the largest",
        [WindowUpdateFrame(0, window_increment=2**31 - 1)],
        goaway("FLOW_CONTROL_ERROR"),
    ),
    Case(
        "6.9.1",
        "a window of a stream beyond the largest",
        [POSTED, WindowUpdateFrame(1, window_increment=2**31 - 1)],
        broken("FLOW_CONTROL_ERROR"),
    ),
    Case(
        "6.9.1",
        "DATA beyond the stream's window",
        [UNREAD, *[DataFrame(1, data=bytes(2**14))] * 17],
        broken("FLOW_CONTROL_ERROR"),
    ),
    Case(
        "6.9.2",
        "the window of a stream changes with the setting",
        [SettingsFrame(0, settings={4: 0}), headers(), PAUSE, SettingsFrame(0, settings={4: 4})],
        Alive(BODY[:4]),
    ),
    Case(
        "6.9.2",
        "a window may become negative",
        [
            SettingsFrame(0, settings={4: 3}),
            headers(),
            PAUSE,
            SettingsFrame(0, settings={4: 2}),
            WindowUpdateFrame(1, window_increment=2),
        ],
        Alive(BODY[:4]),
    ),
    Case(
        "6.9.2",
        "a setting that lifts a window beyond the largest",
        [
            POSTED,
            WindowUpdateFrame(1, window_increment=2**31 - 1 - 65_535),
            SettingsFrame(0, settings={4: 65_536}),
        ],
        goaway("FLOW_CONTROL_ERROR"),
    ),
    Case(
        "6.10",
        "several CONTINUATION frames",
        [
            headers(fields=BLOCK[:1], flags=END),
            *[ContinuationFrame(1, data=BLOCK[n : n + 1]) for n in range(1, 4)],
            ContinuationFrame(1, data=BLOCK[4:], flags=OPEN),
        ],
        Answered(),
    ),
    Case(
        "6.10",
        "CONTINUATION of another stream",
        [HALF_A_BLOCK, ContinuationFrame(3, data=BLOCK[5:], flags=OPEN)],
        goaway("PROTOCOL_ERROR"),
    ),
    Case(
        "6.10",
        "CONTINUATION on stream 0",
        [HALF_A_BLOCK, raw(CONTINUATION, BLOCK[5:], flags=END_HEADERS)],
        goaway("PROTOCOL_ERROR"),
    ),
    Case(
        "6.10",
        "CONTINUATION behind a whole block",
        [headers(fields=POST, flags=OPEN), ContinuationFrame(1, data=b"", flags=OPEN)],
        goaway("PROTOCOL_ERROR"),
    ),
    Case(
        "6.10",
        "CONTINUATION behind the last one",
        [HALF_A_BLOCK, REST_OF_BLOCK, REST_OF_BLOCK],
        goaway("PROTOCOL_ERROR"),
    ),
    Case(
        "6.10",
        "CONTINUATION behind DATA",
        [POSTED, DataFrame(1, data=b"x"), ContinuationFrame(1, data=BLOCK, flags=OPEN)],
        goaway("PROTOCOL_ERROR"),
    ),
    Case("6.10", "HEADERS inside a block", [HALF_A_BLOCK, headers()], goaway("PROTOCOL_ERROR")),
    Case(
        "7",
        "an unknown code in RST_STREAM",
        [POSTED, RstStreamFrame(1, error_code=0xFF), headers(3)],
        Answered(stream=3),
    ),
    Case(
        "7",
        "an unknown code in GOAWAY",
        [POSTED, GoAwayFrame(0, error_code=0xFF), DataFrame(1, flags=END)],
        Answered(last=True),
    ),
]


def malformed(section, name, fields, flags=WHOLE):
    return Case(section, name, [headers(fields=fields, flags=flags)], broken("PROTOCOL_ERROR"))


def without(name):
    return [field for field in GET if field[0] != name]


def changed(name, value):
    return [(key, value if key == name else old) for key, old in GET]


MESSAGES = [
    Case(
        "8.1",
        "a second block that does not end the stream",
        [POSTED, headers(fields=[(b"a", b"b")], flags=OPEN)],
        broken("PROTOCOL_ERROR"),
    ),
    Case(
        "8.1",
        "DATA behind trailers",
        [POSTED, headers(fields=[(b"a", b"b")]), DataFrame(1, data=b"x")],
        broken("STREAM_CLOSED"),
    ),
    malformed("8.2.1", "an upper-case name", [*GET, (b"X-Test", b"1")]),
    malformed("8.2.1", "a name with a space", [*GET, (b"x test", b"1")]),
    malformed("8.2.1", "a name with a colon inside", [*GET, (b"x:test", b"1")]),
    malformed("8.2.1", "an empty name", [*GET, (b"", b"1")]),
    malformed("8.2.1", "a value with NUL", [*GET, (b"x", b"a\0b")]),
    malformed("8.2.1", "a value with a line feed", [*GET, (b"x", b"a\nb")]),
    malformed("8.2.1", "a value with a carriage return", [*GET, (b"x", b"a\rb")]),
    malformed("8.2.1", "a value that begins with a space", [*GET, (b"x", b" a")]),
    malformed("8.2.1", "a value that ends in a tab", [*GET, (b"x", b"a\t")]),
    *(
        malformed("8.2.2", f"the field {name.decode()}", [*GET, (name, value)])
        for name, value in (
            (b"connection", b"keep-alive"),
            (b"keep-alive", b"5"),
            (b"proxy-connection", b"keep-alive"),
            (b"transfer-encoding", b"chunked"),
            (b"upgrade", b"h2c"),
        )
    ),
    malformed("8.2.2", "te other than trailers", [*GET, (b"te", b"trailers, deflate")]),
    malformed("8.3", "an unknown pseudo-field", [*GET, (b":test", b"1")]),
    malformed("8.3", "the pseudo-field of a response", [*GET, (b":status", b"200")]),
    malformed("8.3", "a pseudo-field behind a field", [*GET[:3], (b"x", b"1"), GET[3]]),
    Case(
        "8.3",
        "a pseudo-field in trailers",
        [POSTED, headers(fields=[(b":method", b"GET")])],
        broken("PROTOCOL_ERROR"),
    ),
    malformed("8.3.1", "an empty :path", changed(b":path", b"")),
    *(
        malformed("8.3.1", f"no {name.decode()}", without(name))
        for name in (b":method", b":scheme", b":path")
    ),
    *(malformed("8.3.1", f"{field[0].decode()} twice", [*GET, field]) for field in GET),
    Case(
        "8.3.1",
        "Host that is not :authority",
        [headers(fields=[*GET, (b"host", b"other")])],
        broken("PROTOCOL_ERROR"),
    ),
    Case(
        "8.1.1",
        "a body shorter than its content-length",
        [headers(fields=[*POST, (b"content-length", b"3")], flags=OPEN), DataFrame(1, data=b"xy", flags=END)],
        broken("PROTOCOL_ERROR"),
    ),
    Case(
        "8.1.1",
        "a body longer than its content-length",
        [
            headers(fields=[*POST, (b"content-length", b"1")], flags=OPEN),
            DataFrame(1, data=b"x"),
            DataFrame(1, data=b"y", flags=END),
        ],
        broken("PROTOCOL_ERROR"),
    ),
    Case(
        "8.1.1",
        "no body, but a content-length",
        [headers(fields=[*POST, (b"content-length", b"1")])],
        broken("PROTOCOL_ERROR"),
    ),
    malformed("8.1.1", "a content-length that is no number", [*POST, (b"content-length", b"1x")]),
    Case(
        "8.1.1",
        "two different content-lengths",
        [
            headers(fields=[*POST, (b"content-length", b"1"), (b"content-length", b"2")], flags=OPEN),
            DataFrame(1, data=b"x", flags=END),
        ],
        broken("PROTOCOL_ERROR"),
    ),
    Case(
        "8.4",
        "a client that pushes",
        [PushPromiseFrame(1, promised_stream_id=2, data=BLOCK, flags=OPEN)],
        goaway("PROTOCOL_ERROR"),
    ),
]

CASES = [*OPENING, *FRAMES, *STREAMS, *DEFINITIONS, *MESSAGES]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_conformance(case):
    check(case, await play(case))


async def test_an_answer_to_a_ping_is_not_answered():
    """Section 6.7."""
    frames = await play(Case("6.7", "", [PingFrame(0, opaque_data=b"unasked!", flags=["ACK"])], Alive()))
    assert [frame.opaque_data for frame in frames if isinstance(frame, PingFrame)] == [TOKEN]


async def test_a_connection_error_names_the_last_stream():
    """Section 5.4.1: the client learns what was not looked at."""
    frames = await play(
        Case("5.4.1", "", [headers(1), headers(3), PAUSE, raw(PING, b"1")], goaway("FRAME_SIZE_ERROR"))
    )
    assert frames[-1].last_stream_id == 3
