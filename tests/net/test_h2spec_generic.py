# SPDX-License-Identifier: Apache-2.0
"""Conformance, part one: everything that a good client may do (RFC 9113, RFC 7541)."""

import hpack
import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
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
    WHOLE,
    Alive,
    Answered,
    Case,
    block,
    check,
    headers,
    play,
)

POSTED = headers(fields=POST, flags=OPEN)
END = ["END_STREAM"]
BLOCK = block(GET)
SETTINGS = SettingsFrame(0).serialize()


def priority(stream, **fields):
    return PriorityFrame(stream, **({"depends_on": 0, "stream_weight": 15, "exclusive": False} | fields))


def literal(first, name, value, *, huffman=False):
    """A field written out: `first` is the byte of the representation with a new name (RFC 7541 section 6.2)."""

    def string(text):
        data = encode_huffman(text) if huffman else text
        return bytes([len(data) | (0x80 if huffman else 0)]) + data

    return bytes([first]) + string(name) + string(value)


def encode_huffman(text):
    coder = hpack.huffman.HuffmanEncoder(
        hpack.huffman_constants.REQUEST_CODES, hpack.huffman_constants.REQUEST_CODES_LENGTH
    )
    return coder.encode(text)


CASES = [
    # --- the beginning
    Case("RFC 9113 3.4", "the preface and empty SETTINGS", [], Alive()),
    Case(
        "RFC 9113 3.4",
        "the preface and SETTINGS with values",
        [],
        Alive(),
        opening=CONNECTION_PREFACE + SettingsFrame(0, settings={3: 100, 4: 65_535, 2: 0}).serialize(),
    ),
    Case(
        "RFC 9113 3.4",
        "a request together with the preface",
        [],
        Answered(),
        CONNECTION_PREFACE + SETTINGS + headers().serialize(),
    ),
    # --- streams in each of their states
    Case("RFC 9113 5.1", "PRIORITY on an idle stream", [priority(1), headers()], Answered()),
    Case(
        "RFC 9113 5.1",
        "WINDOW_UPDATE on a half-closed stream",
        [headers(), WindowUpdateFrame(1, window_increment=100)],
        Answered(),
    ),
    Case("RFC 9113 5.1", "PRIORITY on a half-closed stream", [headers(), priority(1)], Answered()),
    Case(
        "RFC 9113 5.1",
        "RST_STREAM on a half-closed stream",
        [headers(), RstStreamFrame(1, error_code=ErrorCodes.CANCEL)],
        Alive(),
    ),
    Case("RFC 9113 5.1", "PRIORITY on a closed stream", [headers(), PAUSE, priority(1)], Answered()),
    Case(
        "RFC 9113 5.1",
        "WINDOW_UPDATE on a closed stream",
        [headers(), PAUSE, WindowUpdateFrame(1, window_increment=1)],
        Answered(),
    ),
    Case(
        "RFC 9113 5.1",
        "RST_STREAM on a closed stream",
        [headers(), PAUSE, RstStreamFrame(1, error_code=ErrorCodes.CANCEL)],
        Answered(),
    ),
    Case(
        "RFC 9113 5.1.1",
        "stream numbers with gaps",
        [headers(1), headers(7), headers(101)],
        Answered(stream=101),
    ),
    Case("RFC 9113 5.1.1", "the first stream is not 1", [headers(5)], Answered(stream=5)),
    Case("RFC 9113 5.1.1", "the highest stream there is", [headers(2**31 - 1)], Answered(stream=2**31 - 1)),
    Case(
        "RFC 9113 5.1.2",
        "a hundred streams at once",
        [headers(2 * n + 1, POST, OPEN) for n in range(100)],
        Alive(),
    ),
    # --- frames
    Case("RFC 9113 6.1", "one DATA frame", [POSTED, DataFrame(1, data=b"x", flags=END)], Answered()),
    Case(
        "RFC 9113 6.1",
        "several DATA frames",
        [POSTED, DataFrame(1, data=b"x"), DataFrame(1, data=b"y", flags=END)],
        Answered(),
    ),
    Case(
        "RFC 9113 6.1",
        "padded DATA",
        [POSTED, DataFrame(1, data=b"x", flags=["PADDED", *END], pad_length=255)],
        Answered(),
    ),
    Case(
        "RFC 9113 6.1",
        "DATA that is all padding",
        [POSTED, DataFrame(1, data=b"", flags=["PADDED", *END], pad_length=9)],
        Answered(),
    ),
    Case("RFC 9113 6.1", "empty DATA that ends the stream", [POSTED, DataFrame(1, flags=END)], Answered()),
    Case(
        "RFC 9113 6.1",
        "DATA of the largest size",
        [POSTED, DataFrame(1, data=bytes(2**14), flags=END)],
        Answered(),
    ),
    Case("RFC 9113 6.2", "HEADERS", [headers()], Answered()),
    Case("RFC 9113 6.2", "padded HEADERS", [headers(flags=("PADDED", *WHOLE), pad_length=17)], Answered()),
    Case(
        "RFC 9113 6.2",
        "HEADERS with a priority",
        [headers(flags=("PRIORITY", *WHOLE), depends_on=0, stream_weight=255, exclusive=True)],
        Answered(),
    ),
    Case(
        "RFC 9113 6.2",
        "padded HEADERS with a priority",
        [headers(flags=("PADDED", "PRIORITY", *WHOLE), pad_length=3, depends_on=7, stream_weight=1)],
        Answered(),
    ),
    Case("RFC 9113 6.3", "PRIORITY with the smallest weight", [priority(1, stream_weight=0)], Alive()),
    Case("RFC 9113 6.3", "PRIORITY with the largest weight", [priority(1, stream_weight=255)], Alive()),
    Case("RFC 9113 6.3", "PRIORITY that depends on another stream", [priority(3, depends_on=1)], Alive()),
    Case("RFC 9113 6.3", "exclusive PRIORITY", [priority(3, depends_on=1, exclusive=True)], Alive()),
    Case(
        "RFC 9113 6.3",
        "PRIORITY inside a request",
        [POSTED, priority(1), DataFrame(1, flags=END)],
        Answered(),
    ),
    Case(
        "RFC 9113 6.4",
        "RST_STREAM on an open stream",
        [POSTED, RstStreamFrame(1, error_code=ErrorCodes.CANCEL)],
        Alive(),
    ),
    Case(
        "RFC 9113 6.4",
        "a request behind a reset one",
        [POSTED, RstStreamFrame(1, error_code=ErrorCodes.NO_ERROR), headers(3)],
        Answered(stream=3),
    ),
    Case("RFC 9113 6.5", "SETTINGS in the middle", [SettingsFrame(0, settings={1: 0})], Alive()),
    Case("RFC 9113 6.7", "PING", [PingFrame(0, opaque_data=b"12345678")], Alive()),
    Case(
        "RFC 9113 6.8",
        "GOAWAY that lets a request finish",
        [POSTED, GoAwayFrame(0), DataFrame(1, flags=END)],
        Answered(last=True),
    ),
    Case(
        "RFC 9113 6.9", "WINDOW_UPDATE of the connection", [WindowUpdateFrame(0, window_increment=1)], Alive()
    ),
    Case(
        "RFC 9113 6.9",
        "WINDOW_UPDATE of a stream",
        [POSTED, WindowUpdateFrame(1, window_increment=1), DataFrame(1, flags=END)],
        Answered(),
    ),
    Case(
        "RFC 9113 6.10",
        "one CONTINUATION",
        [headers(fields=BLOCK[:5], flags=END), ContinuationFrame(1, data=BLOCK[5:], flags=OPEN)],
        Answered(),
    ),
    Case(
        "RFC 9113 6.10",
        "several CONTINUATION frames",
        [
            headers(fields=BLOCK[:2], flags=END),
            ContinuationFrame(1, data=BLOCK[2:4]),
            ContinuationFrame(1, data=BLOCK[4:], flags=OPEN),
        ],
        Answered(),
    ),
    Case(
        "RFC 9113 6.10",
        "an empty CONTINUATION",
        [headers(fields=BLOCK, flags=END), ContinuationFrame(1, flags=OPEN)],
        Answered(),
    ),
    # --- messages
    Case("RFC 9113 8.3.1", "GET", [headers()], Answered()),
    Case("RFC 9113 8.3.1", "HEAD", [headers(fields=[(b":method", b"HEAD"), *GET[1:]])], Answered(body=None)),
    Case(
        "RFC 9113 8.3.1",
        "POST with a length",
        [headers(fields=[*POST, (b"content-length", b"2")], flags=OPEN), DataFrame(1, data=b"xy", flags=END)],
        Answered(),
    ),
    Case(
        "RFC 9113 8.1",
        "POST with trailers",
        [POSTED, DataFrame(1, data=b"x"), headers(fields=[(b"x-sum", b"1")])],
        Answered(),
    ),
    Case("RFC 9113 8.1", "trailers without a body", [POSTED, headers(fields=[(b"x-sum", b"1")])], Answered()),
    Case("RFC 9113 8.2.2", "te: trailers", [headers(fields=[*GET, (b"te", b"trailers")])], Answered()),
    Case(
        "RFC 9113 8.2.3",
        "a cookie in two pieces",
        [headers(fields=[*GET, (b"cookie", b"a=1"), (b"cookie", b"b=2")])],
        Answered(),
    ),
    Case(
        "RFC 9113 8.3.1",
        "Host beside an equal :authority",
        [headers(fields=[*GET, (b"host", b"hub")])],
        Answered(),
    ),
    Case(
        "RFC 9113 8.1.1",
        "a request that we refuse harms no other",
        [headers(1, [*GET[:2], (b":path", b"//"), GET[3]]), headers(3)],
        Answered(stream=3),
    ),
    Case(
        "RFC 9113 8.1",
        "a request that we refuse before it has ended",
        [
            headers(1, [*POST[:2], (b":path", b"//"), POST[3]], OPEN),
            PAUSE,
            DataFrame(1, data=b"x", flags=END),
        ],
        Answered("400", body=b""),
    ),
    # --- header compression
    Case("RFC 7541 6.1", "indexed fields", [headers(fields=b"\x82\x86\x84\x41\x03hub")], Answered()),
    Case(
        "RFC 7541 6.2.1",
        "a literal to be indexed, new name",
        [headers(fields=BLOCK + literal(0x40, b"a", b"b"))],
        Answered(),
    ),
    Case(
        "RFC 7541 6.2.1",
        "a literal to be indexed, known name",
        [headers(fields=BLOCK + b"\x7a\x01b")],
        Answered(),
    ),
    Case(
        "RFC 7541 6.2.2",
        "a literal not to be indexed, new name",
        [headers(fields=BLOCK + literal(0x00, b"a", b"b"))],
        Answered(),
    ),
    Case(
        "RFC 7541 6.2.2",
        "a literal not to be indexed, known name",
        [headers(fields=BLOCK + b"\x0f\x2b\x01b")],
        Answered(),
    ),
    Case(
        "RFC 7541 6.2.3",
        "a literal never to be indexed, new name",
        [headers(fields=BLOCK + literal(0x10, b"a", b"b"))],
        Answered(),
    ),
    Case(
        "RFC 7541 6.2.3",
        "a literal never to be indexed, known name",
        [headers(fields=BLOCK + b"\x1f\x2b\x01b")],
        Answered(),
    ),
    Case(
        "RFC 7541 6.2.1",
        "a field indexed in one request and used in the next",
        [headers(1, BLOCK + literal(0x40, b"a", b"b")), headers(3, BLOCK + b"\xbf")],
        Answered(stream=3),
    ),
    Case(
        "RFC 7541 5.2",
        "strings in Huffman code",
        [headers(fields=BLOCK + literal(0x00, b"custom-key", b"custom-value", huffman=True))],
        Answered(),
    ),
    Case(
        "RFC 7541 6.3",
        "a smaller table at the start of a block",
        [headers(fields=b"\x20" + BLOCK)],
        Answered(),
    ),
    Case(
        "RFC 7541 4.2",
        "a table made small and large again",
        [headers(fields=b"\x20\x3f\xe1\x1f" + BLOCK)],
        Answered(),
    ),
    Case(
        "RFC 7541 2.3.2",
        "a field larger than the table empties it",
        [headers(fields=b"\x3f\x01" + BLOCK + literal(0x40, b"a", b"b" * 100))],
        Answered(),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_conformance(case):
    check(case, await play(case))


async def test_settings_are_acknowledged():
    """RFC 9113 section 6.5.3."""
    frames = await play(Case("6.5.3", "", [SettingsFrame(0, settings={3: 7})], Alive()))
    acks = [frame for frame in frames if isinstance(frame, SettingsFrame) and "ACK" in frame.flags]
    assert len(acks) == 2


async def test_a_ping_comes_back_with_its_data():
    """RFC 9113 section 6.7."""
    frames = await play(Case("6.7", "", [PingFrame(0, opaque_data=b"12345678")], Alive()))
    first = next(frame for frame in frames if isinstance(frame, PingFrame))
    assert (first.opaque_data, first.flags) == (b"12345678", {"ACK"})


async def test_an_answer_is_whole():
    """RFC 9113 section 8.1: HEADERS, DATA, END_STREAM once."""
    frames = [frame for frame in await play(Case("8.1", "", [headers()], Answered())) if frame.stream_id == 1]
    assert isinstance(frames[0], HeadersFrame)
    assert b"".join(frame.data for frame in frames[1:]) == BODY
    assert ["END_STREAM" in frame.flags for frame in frames].count(True) == 1
    assert "END_STREAM" in frames[-1].flags
