# SPDX-License-Identifier: Apache-2.0
import itertools

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.errors import RemoteProtocolError
from mezite.core.http1.response_reader import (
    MAX_CHUNK_LINE,
    MAX_INTERIM,
    MAX_RESPONSE_HEAD,
    MAX_TRAILER_BYTES,
    NEED_DATA,
    ResponseBody,
    ResponseEnd,
    ResponseHead,
    ResponseReader,
)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(
    data: bytes, *, method: bytes = b"GET", step: int | None = None, eof: bool = False
) -> tuple[list[ResponseHead], bytes | None, ResponseReader]:
    """All heads, and the body if the response is complete."""
    reader = ResponseReader(method)
    heads: list[ResponseHead] = []
    body = b""
    pieces = [data] if step is None else [data[i : i + step] for i in range(0, len(data), step)]
    for piece in [*pieces, b""]:
        if piece:
            reader.receive_data(piece)
        elif eof:
            reader.receive_eof()
        while (event := reader.next_event()) is not NEED_DATA:
            match event:
                case ResponseHead():
                    heads.append(event)
                case ResponseBody(part):
                    body += part
                case ResponseEnd():
                    assert reader.next_event() is event
                    break
    assert not reader.is_untouched
    complete = reader.next_event() is not NEED_DATA
    return heads, body if complete else None, reader


@pytest.mark.parametrize("step", [None, 1, 3])
@pytest.mark.parametrize(
    ("raw", "body", "keep"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", b"hello", True),
        (OK + b"Content-Length: 0\r\n\r\n", b"", True),
        (OK + b"Content-Length: 1\r\nConnection: x, Close\r\n\r\na", b"a", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\na", b"a", False),
        (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", b"hello", True),
        (CHUNKED + b"1;a=b\r\nh\r\n004 \r\nello\r\n000;x\r\n\r\n", b"hello", True),
        (CHUNKED + b"A\r\n0123456789\r\n0\r\nX-Mezite-User: root\r\nX: y\r\n\r\n", b"0123456789", True),
        (CHUNKED + b"0\r\n\r\n", b"", True),
        (b"HTTP/1.1 204\r\nX: y\r\n\r\n", b"", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n", b"", True),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\n"
            + OK
            + b"Content-Length: 1\r\n\r\na",
            b"a",
            True,
        ),
    ],
)
def test_responses(raw: bytes, body: bytes, keep: bool, step: int | None) -> None:
    heads, got, reader = read(raw, step=step)
    assert got == body
    assert reader.may_be_kept == keep
    assert [head.status < 200 for head in heads] == [True] * (len(heads) - 1) + [False]
    assert reader.take_rest() == b""


@pytest.mark.parametrize("step", [None, 1])
def test_a_response_may_last_until_its_end(step: int | None) -> None:
    heads, body, reader = read(OK + b"\r\nhello", step=step, eof=True)
    assert (heads[0].content_length, body, reader.may_be_kept) == (None, b"hello", False)
    assert read(OK + b"\r\nhello")[1] is None


def test_no_body_for_head() -> None:
    heads, body, reader = read(OK + b"Content-Length: 5\r\n\r\n", method=b"HEAD")
    assert (heads[0].content_length, body, reader.may_be_kept) == (0, b"", True)
    assert heads[0].fields == ((b"content-length", b"5"),)
    assert read(CHUNKED, method=b"HEAD")[1] == b""


def test_bytes_behind_the_end_are_nobodys() -> None:
    """D1: the next user would get them."""
    _, body, reader = read(OK + b"Content-Length: 1\r\n\r\na" + OK)
    assert (body, reader.may_be_kept) == (b"a", False)
    _, body, reader = read(OK + b"Content-Length: 1\r\n\r\na", eof=True)
    assert (body, reader.may_be_kept) == (b"a", False)


def test_a_switch_that_was_asked_for() -> None:
    reader = ResponseReader(b"GET", upgrade=True)
    reader.receive_data(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x00")
    head = reader.next_event()
    assert isinstance(head, ResponseHead)
    assert head.status == 101
    assert reader.take_rest() == b"\x81\x00"
    assert not reader.may_be_kept


BAD = [
    b"HTTP/1.1 101 Switching\r\n\r\n",
    b"HTTP/2.0 200 OK\r\n\r\n",
    b"HTTP/1.1 99 OK\r\n\r\n",
    b"HTTP/1.1 600 OK\r\n\r\n",
    b"HTTP/1.1 0200 OK\r\n\r\n",
    b"HTTP/1.1  200 OK\r\n\r\n",
    b"HTTP/1.1 200 O\x00K\r\n\r\n",
    b"ICY 200 OK\r\n\r\n",
    b"\r\n" + OK + b"\r\n",
    b"HTTP/1.1 200 OK\n\n",
    OK + b"A: b\n\r\n",
    OK + b"A: b\r\n c\r\n\r\n",
    OK + b"A : b\r\n\r\n",
    OK + b"A: b\rc\r\n\r\n",
    OK + b"A: b\x00\r\n\r\n",
    OK + b"nothing\r\n\r\n",
    OK + b"A: " + b"a" * MAX_RESPONSE_HEAD,
    OK + b"A: b\r\n" * 101 + b"\r\n",
    OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    OK + b"Content-Length: 1, 1\r\n\r\na",
    OK + b"Content-Length: +1\r\n\r\na",
    OK + b"Content-Length: 0x1\r\n\r\na",
    OK + b"Content-Length: \r\n\r\n",
    OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na",
    OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    OK + b"Transfer-Encoding: xchunked\r\n\r\n",
    OK + b"Transfer-Encoding: identity\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    CHUNKED + b"0x1\r\na\r\n",
    CHUNKED + b"+1\r\na\r\n",
    CHUNKED + b" 1\r\na\r\n",
    CHUNKED + b"-1\r\n",
    CHUNKED + b"\r\n",
    CHUNKED + b"1_0\r\n",
    CHUNKED + b"1\na\r\n",
    CHUNKED + b"1\r\nab\r\n",
    CHUNKED + b"1\r\na\n0\r\n\r\n",
    CHUNKED + b"1;a\rb\r\na\r\n",
    CHUNKED + b"1111111111111111\r\n",
    CHUNKED + b"1;" + b"a" * MAX_CHUNK_LINE + b"\r\n",
    CHUNKED + b"0\r\nX: y\n\r\n",
    CHUNKED + b"0\r\n" + b"X: yyyy\r\n" * (MAX_TRAILER_BYTES // 7 + 1),
    b"HTTP/1.1 102 Processing\r\n\r\n" * (MAX_INTERIM + 1),
]


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize("raw", BAD)
def test_every_doubt_is_an_error(raw: bytes, step: int | None) -> None:
    """D1, D2, D10."""
    with pytest.raises(RemoteProtocolError):
        read(raw, step=step)


@pytest.mark.parametrize("extra", [b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_switch_has_no_length(extra: bytes) -> None:
    reader = ResponseReader(b"GET", upgrade=True)
    reader.receive_data(b"HTTP/1.1 101 Switching Protocols\r\n" + extra + b"\r\n")
    with pytest.raises(RemoteProtocolError, match="switched"):
        reader.next_event()


@pytest.mark.parametrize(
    "raw",
    [OK, OK + b"Content-Length: 2\r\n\r\na", CHUNKED + b"2\r\na", CHUNKED + b"1\r\na\r", CHUNKED + b"0\r\n"],
)
def test_a_part_is_not_the_whole(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="in the middle"):
        read(raw, eof=True)


def test_an_end_before_anything_came() -> None:
    reader = ResponseReader(b"GET")
    reader.receive_eof()
    assert reader.is_untouched
    with pytest.raises(RemoteProtocolError, match="before its response"):
        reader.next_event()


# -- differential


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """What a server may send, mostly right."""
    body = draw(st.binary(max_size=40))
    status = draw(st.sampled_from([b"200 OK", b"404 Not Found", b"204 No Content", b"304 X", b"500"]))
    fields = draw(st.lists(st.sampled_from([b"A: b", b"Connection: close", b"Set-Cookie: a=b"]), max_size=3))
    how = draw(st.sampled_from(["length", "chunked", "end"]))
    if how == "length":
        fields.append(b"Content-Length: %d" % len(body))
    elif how == "chunked":
        fields.append(b"Transfer-Encoding: chunked")
        cuts = [0, *sorted(draw(st.sets(st.integers(1, max(1, len(body))), max_size=3))), len(body)]
        chunks = [body[a:b] for a, b in itertools.pairwise(cuts) if body[a:b]]
        body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    if draw(st.booleans()):
        body = body[: draw(st.integers(0, len(body)))]
    return b"\r\n".join((b"HTTP/1.1 " + status, *fields, b"", b"")) + body


def by_h11(data: bytes, method: bytes) -> bytes | None:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"h")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    body = b""
    try:
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Data):
                body += event.data
    except h11.RemoteProtocolError:
        return None
    return body


@given(responses(), st.sampled_from([b"GET", b"HEAD"]), st.integers(1, 50))
def test_h11_reads_the_same(data: bytes, method: bytes, step: int) -> None:
    try:
        body = read(data, method=method, step=step, eof=True)[1]
    except RemoteProtocolError:
        body = None
    assert body == by_h11(data, method)
