# SPDX-License-Identifier: Apache-2.0
import itertools

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.errors import RemoteProtocolError
from mezite.core.http1.body_reader import MAX_CHUNK_LINE, MAX_TRAILER_BYTES, NEED_DATA, BodyReader
from mezite.core.mux.events import NeedData


def read(reader: BodyReader, data: bytes, step: int | None = None) -> bytes | None:
    """The body if it is complete."""
    body = b""
    for start in range(0, len(data), step or len(data)):
        reader.receive_data(data[start : start + (step or len(data))])
        while not isinstance(piece := reader.next_piece(), NeedData) and piece:
            body += piece
    return body if reader.is_complete else None


@pytest.mark.parametrize("step", [None, 1, 3])
@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"1;a=b\r\nh\r\n004 \r\nello\r\n000;x\r\n\r\n", b"hello"),
        (b"A\r\n0123456789\r\n0\r\nX-Mezite-User: root\r\nX: y\r\n\r\n", b"0123456789"),
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n", None),
        (b"5\r\nhello\r", None),
        (b"5\r\nhell", None),
        (b"5", None),
    ],
)
def test_chunks(raw: bytes, body: bytes | None, step: int | None) -> None:
    reader = BodyReader(chunked=True)
    assert read(reader, raw, step) == body
    assert not reader.has_more or body is None
    assert reader.next_piece() == (NEED_DATA if body is None else b"")


@pytest.mark.parametrize("step", [None, 1, 3])
def test_so_many_bytes(step: int | None) -> None:
    reader = BodyReader(length=5)
    assert reader.next_piece() is NEED_DATA
    assert read(reader, b"hello", step) == b"hello"
    assert (reader.next_piece(), reader.has_more) == (b"", False)


@pytest.mark.parametrize("chunked", [False, True])
def test_what_follows_is_not_of_the_body(chunked: bool) -> None:
    """D1."""
    reader = BodyReader(chunked=True) if chunked else BodyReader(length=2)
    assert read(reader, b"2\r\nhi\r\n0\r\n\r\nGET /" if chunked else b"hiGET /") == b"hi"
    assert (reader.next_piece(), reader.has_more) == (b"", True)
    reader.receive_data(b"x HTTP")
    assert (reader.next_piece(), reader.take_rest(), reader.has_more) == (b"", b"GET /x HTTP", False)


def test_no_body() -> None:
    reader = BodyReader(length=0)
    reader.receive_data(b"GET /")
    assert (reader.is_complete, reader.next_piece(), reader.take_rest()) == (True, b"", b"GET /")


def test_a_body_may_last_until_the_end() -> None:
    reader = BodyReader()
    assert read(reader, b"hello", 2) is None
    reader.receive_data(b", world")
    reader.receive_eof()
    assert not reader.is_complete
    assert (reader.next_piece(), reader.next_piece(), reader.is_complete) == (b", world", b"", True)
    reader = BodyReader()
    reader.receive_eof()
    assert reader.is_complete


def test_an_end_in_the_middle_completes_nothing() -> None:
    reader = BodyReader(length=5)
    reader.receive_data(b"hell")
    reader.receive_eof()
    assert (reader.next_piece(), reader.next_piece(), reader.is_complete) == (b"hell", NEED_DATA, False)


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize(
    "raw",
    [
        b"0x1\r\na\r\n",
        b"+1\r\na\r\n",
        b" 1\r\na\r\n",
        b"-1\r\n",
        b"\r\n",
        b"1_0\r\n",
        b"1\na\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n0\r\n\r\n",
        b"1;a\rb\r\na\r\n",
        b"1;a\x00\r\na\r\n",
        b"1\r\r\na\r\n",
        b"1111111111111111\r\n",
        b"1;" + b"a" * MAX_CHUNK_LINE + b"\r\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\n" + b"X: yyyy\r\n" * (MAX_TRAILER_BYTES // 7 + 1),
        b"0\r\nX: " + b"y" * MAX_TRAILER_BYTES,
    ],
)
def test_every_doubt_is_an_error(raw: bytes, step: int | None) -> None:
    """D1, D2."""
    with pytest.raises(RemoteProtocolError) as caught:
        read(BodyReader(chunked=True), raw, step)
    assert caught.value.code == 400


def test_lines_as_long_as_they_may_be() -> None:
    extension = b"1;" + b"a" * (MAX_CHUNK_LINE - 2)
    trailer = b"X: " + b"y" * (MAX_TRAILER_BYTES - 3)
    raw = extension + b"\r\nh\r\n0\r\n" + trailer + b"\r\n\r\n"
    assert read(BodyReader(chunked=True), raw) == b"h"


# -- differential


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Chunks, mostly right."""
    body = draw(st.binary(max_size=40))
    cuts = [0, *sorted(draw(st.sets(st.integers(1, max(1, len(body))), max_size=3))), len(body)]
    chunks = [body[a:b] for a, b in itertools.pairwise(cuts) if body[a:b]]
    raw = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    cut = draw(st.integers(0, len(raw)))
    return raw[:cut] + draw(st.sampled_from([b"", b"", b"\r", b"\n", b"0", b"x"])) + raw[cut:]


@given(bodies(), st.integers(1, 50))
def test_what_is_read_is_read_by_h11_too(raw: bytes, step: int) -> None:
    """D1: what passes here is the same to a reader that is less strict."""
    reader = BodyReader(chunked=True)
    try:
        body = read(reader, raw, step)
    except RemoteProtocolError:
        return
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + raw)
    assert isinstance(connection.next_event(), h11.Request)
    other = b""
    while isinstance(event := connection.next_event(), h11.Data):
        other += event.data
    assert (other if isinstance(event, h11.EndOfMessage) else None) == body
    if body is not None:
        assert connection.trailing_data[0] == reader.take_rest()
