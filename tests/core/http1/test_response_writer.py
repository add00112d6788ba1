# SPDX-License-Identifier: Apache-2.0
import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.errors import LocalProtocolError
from mezite.core.http1.response_writer import ResponseWriter

PLAIN = (b"content-type", b"text/plain")


def test_a_length_that_is_said() -> None:
    writer = ResponseWriter(b"GET", 1)
    head = writer.begin(200, [PLAIN, (b"Content-Length", b"5")], "OK")
    assert head == b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-Length: 5\r\n\r\n"
    assert writer.data(b"hel") + writer.data(b"") + writer.data(b"lo") + writer.end() == b"hello"


def test_a_length_that_nobody_knows() -> None:
    writer = ResponseWriter(b"POST", 1)
    assert (
        writer.begin(299, [PLAIN], "")
        == b"HTTP/1.1 299 \r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    # An empty chunk would be the end.
    assert writer.data(b"") == b""
    assert writer.data(b"0123456789abcdef") == b"10\r\n0123456789abcdef\r\n"
    assert writer.end() == b"0\r\n\r\n"


def test_a_client_of_old() -> None:
    """It knows no chunks: the end of the connection is that of the body."""
    writer = ResponseWriter(b"GET", 0)
    assert writer.begin(200, [], "OK") == b"HTTP/1.1 200 OK\r\n\r\n"
    assert writer.data(b"ab") + writer.end() == b"ab"


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
def test_no_body(method: bytes, status: int) -> None:
    writer = ResponseWriter(method, 1)
    head = writer.begin(status, [(b"content-length", b"5")], "X")
    assert head.endswith(b"content-length: 5\r\n\r\n")
    assert writer.data(b"") == writer.end() == b""
    with pytest.raises(LocalProtocolError):
        writer.data(b"x")


@pytest.mark.parametrize(("method", "status", "says"), [(b"HEAD", 200, True), (b"GET", 304, False)])
def test_head_is_told_what_get_would_be(method: bytes, status: int, says: bool) -> None:
    writer = ResponseWriter(method, 1)
    assert (b"chunked" in writer.begin(status, [], "X")) == says
    assert writer.end() == b""


@pytest.mark.parametrize(
    "field",
    [
        (b"x", b"a\r\nset-cookie: b=c"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"a\0b"),
        (b"x: y\r\nz", b"a"),
        (b"x y", b"a"),
        (b"", b"a"),
        (b"x\n", b"a"),
        (b"transfer-encoding", b"chunked"),
        (b"Transfer-Encoding", b"identity"),
        (b"content-length", b"-1"),
        (b"content-length", b"5, 5"),
        (b"content-length", b""),
    ],
)
def test_what_no_field_is(field: tuple[bytes, bytes]) -> None:
    """D2: an answer that was split would be two."""
    writer = ResponseWriter(b"GET", 1)
    with pytest.raises(LocalProtocolError):
        writer.begin(200, [PLAIN, field], "OK")
    # It is as it was.
    assert writer.begin(200, [PLAIN], "OK")


def test_one_length() -> None:
    with pytest.raises(LocalProtocolError, match="one Content-Length"):
        ResponseWriter(b"GET", 1).begin(200, [(b"content-length", b"1"), (b"Content-Length", b"1")], "OK")


@pytest.mark.parametrize("status", [0, 100, 101, 199, 600])
def test_what_no_final_status_is(status: int) -> None:
    with pytest.raises(LocalProtocolError, match="status"):
        ResponseWriter(b"GET", 1).begin(status, [], "X")


def test_there_is_one_head_and_it_comes_first() -> None:
    writer = ResponseWriter(b"GET", 1)
    with pytest.raises(LocalProtocolError, match="without a head"):
        writer.data(b"x")
    writer.begin(200, [], "OK")
    with pytest.raises(LocalProtocolError, match="already"):
        writer.begin(200, [], "OK")


def test_the_length_that_was_said_holds() -> None:
    writer = ResponseWriter(b"GET", 1)
    writer.begin(200, [(b"content-length", b"2")], "OK")
    with pytest.raises(LocalProtocolError, match="longer"):
        writer.data(b"abc")
    writer.data(b"a")
    with pytest.raises(LocalProtocolError, match="1 bytes"):
        writer.end()
    writer.data(b"b")
    assert writer.end() == b""


# -- differential


@given(
    st.sampled_from([b"GET", b"HEAD"]),
    st.sampled_from([200, 204, 304, 404]),
    st.lists(
        st.tuples(st.from_regex(rb"x[!#$%&'*+.^_`|~0-9A-Za-z-]*", fullmatch=True), st.binary(max_size=8))
    ),
    st.lists(st.binary(max_size=5)),
    st.booleans(),
)
def test_h11_understands_it(
    method: bytes, status: int, fields: list[tuple[bytes, bytes]], pieces: list[bytes], tells: bool
) -> None:
    writer, body = ResponseWriter(method, 1), b"".join(pieces)
    length = [(b"content-length", b"%d" % len(body))] if tells else []
    try:
        raw = writer.begin(status, [*fields, *length], "X")
    except LocalProtocolError:
        return
    if method == b"HEAD" or status in (204, 304):
        body, pieces = b"", []
    raw += b"".join(map(writer.data, pieces)) + writer.end()
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"h")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(raw)
    head = connection.next_event()
    assert isinstance(head, h11.Response)
    assert [(name, value) for name, value in head.headers if name.startswith(b"x")] == [
        (name.lower(), value.strip(b" \t")) for name, value in fields
    ]
    got = b""
    while isinstance(event := connection.next_event(), h11.Data):
        got += event.data
    assert (type(event), got, connection.trailing_data[0]) == (h11.EndOfMessage, body, b"")
