# SPDX-License-Identifier: Apache-2.0
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.errors import RemoteProtocolError
from mezite.core.http1.request_head import (
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    RequestHeadReader,
    parse_request_head,
)

GOOD = b"POST /a/b?x=1%20y HTTP/1.1\r\nHost: hub.example:3080\r\nContent-Length: 5\r\nX-A:  b c\t \r\n\r\n"


def head(*lines: bytes, request: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join((request, *lines, b"", b""))


def status_of(data: bytes) -> int:
    with pytest.raises(RemoteProtocolError) as caught:
        parse_request_head(data)
    return caught.value.code


def test_a_plain_request() -> None:
    parsed = parse_request_head(GOOD)
    assert (parsed.method, parsed.target, parsed.minor_version) == (b"POST", b"/a/b?x=1%20y", 1)
    assert (parsed.content_length, parsed.chunked) == (5, False)
    assert parsed.host == b"hub.example:3080"
    assert parsed.field(b"x-a") == b"b c"
    assert parsed.field(b"x-b") is None
    assert not parsed.wants_close


def test_http_1_0_needs_no_host_and_always_closes() -> None:
    parsed = parse_request_head(head(request=b"GET / HTTP/1.0"))
    assert parsed.host == b""
    assert parsed.wants_close


def test_connection_tokens_are_a_list() -> None:
    parsed = parse_request_head(head(b"Host: h", b"Connection: Keep-Alive, ,x", b"Connection:\tCLOSE"))
    assert parsed.tokens(b"connection") == {b"keep-alive", b"x", b"close"}
    assert parsed.wants_close


def test_a_chunked_body() -> None:
    parsed = parse_request_head(head(b"Host: h", b"Transfer-Encoding: Chunked"))
    assert (parsed.content_length, parsed.chunked) == (None, True)


@pytest.mark.parametrize("host", [b"h", b"a_b.example", b"192.0.2.1:80", b"[::1]", b"[2001:db8::1]:443"])
def test_hosts(host: bytes) -> None:
    assert parse_request_head(head(b"Host: " + host)).host == host


SMUGGLED = {
    "CL.TE": [b"Content-Length: 4", b"Transfer-Encoding: chunked"],
    "TE.CL": [b"Transfer-Encoding: chunked", b"Content-Length: 4"],
    "two equal lengths": [b"Content-Length: 4", b"content-length: 4"],
    "two lengths": [b"Content-Length: 4", b"Content-Length: 5"],
    "list of lengths": [b"Content-Length: 4, 4"],
    "signed length": [b"Content-Length: +4"],
    "negative length": [b"Content-Length: -4"],
    "hexadecimal length": [b"Content-Length: 0x4"],
    "underscored length": [b"Content-Length: 1_0"],
    "length with 0x85": [b"Content-Length: 4\x85"],
    "length with 0xa0": [b"Content-Length: \xa04"],
    "empty length": [b"Content-Length:"],
    "huge length": [b"Content-Length: 9999999999999999"],
    "two codings": [b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
    "space before colon": [b"Content-Length : 4"],
    "obs-fold": [b"X: a", b" b"],
    "obs-fold with tab": [b"X: a", b"\tContent-Length: 4"],
    "obs-fold first": [b" X: a"],
    "NUL in value": [b"X: a\x00b"],
    "vertical tab": [b"X: a\x0bb"],
    "bare CR": [b"X: a\rContent-Length: 4"],
    "bare LF": [b"X: a\nContent-Length: 4"],
    "no colon": [b"Content-Length"],
    "empty name": [b": 4"],
    "name with space": [b"Content Length: 4"],
    "name beyond ASCII": [b"Content-Length\xff: 4"],
    "two hosts": [b"Host: other"],
    "two expects": [b"Expect: 100-continue", b"Expect: 100-continue"],
}


@pytest.mark.parametrize("lines", SMUGGLED.values(), ids=SMUGGLED)
def test_every_doubt_about_the_framing_is_refused(lines: list[bytes]) -> None:
    """D1, D2."""
    assert status_of(head(b"Host: h", *lines)) == 400
    # A fold needs the line before it, so the other order is tested for the rest only.
    if not lines[-1].startswith((b" ", b"\t")):
        assert status_of(head(*lines, b"Host: h")) == 400


@pytest.mark.parametrize(
    "coding",
    [
        b"gzip",
        b"identity",
        b"chunked, chunked",
        b"gzip, chunked",
        b"xchunked",
        b"chunked;q=1",
        b"\x0bchunked",
    ],
)
def test_other_codings_are_not_spoken(coding: bytes) -> None:
    assert status_of(head(b"Host: h", b"Transfer-Encoding: " + coding)) in (400, 501)


def test_http_1_0_has_no_chunks() -> None:
    assert status_of(head(b"Transfer-Encoding: chunked", request=b"POST / HTTP/1.0")) == 400


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/1.2", 505),
        (b"GET / HTTP/0.9", 505),
        (b"GET / http/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b"GET / HTTP/11", 400),
        (b"GET /", 400),
        (b"GET  / HTTP/1.1", 400),
        (b"GET\t/ HTTP/1.1", 400),
        (b" GET / HTTP/1.1", 400),
        (b"", 400),
        (b"get / HTTP/1.1", 400),
        (b"G@T / HTTP/1.1", 400),
        (b"A" * 21 + b" / HTTP/1.1", 400),
        (b"GET http://other/ HTTP/1.1", 400),
        (b"CONNECT host:443 HTTP/1.1", 400),
        (b"OPTIONS * HTTP/1.1", 400),
        (b"GET a HTTP/1.1", 400),
        (b"GET /a#b HTTP/1.1", 400),
        (b"GET /\x7f HTTP/1.1", 400),
        (b"GET /\xc3\xa4 HTTP/1.1", 400),
        (b"GET /" + b"a" * 8192 + b" HTTP/1.1", 414),
    ],
)
def test_request_lines(request_line: bytes, status: int) -> None:
    assert status_of(head(b"Host: h", request=request_line)) == status


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"a b",
        b"a,b",
        b"a@b",
        b"a/b",
        b"a:",
        b"a:x",
        b"a:123456",
        b"a:65536",
        b"[::1",
        b"a?b",
        b"\xff",
        b"::1",
    ],
)
def test_bad_hosts(host: bytes) -> None:
    assert status_of(head(b"Host: " + host)) == 400


def test_http_1_1_requires_a_host() -> None:
    assert status_of(head()) == 400


def test_the_number_of_fields_is_bounded() -> None:
    lines = [b"Host: h", *(b"X: y" for _ in range(MAX_FIELDS - 1))]
    assert len(parse_request_head(head(*lines)).fields) == MAX_FIELDS
    assert status_of(head(*lines, b"X: y")) == 431


def test_a_head_must_be_whole() -> None:
    assert status_of(b"GET / HTTP/1.1\r\nHost: h\r\n") == 400


@given(st.lists(st.integers(1, 40), max_size=30), st.binary(max_size=30))
def test_how_the_bytes_are_cut_changes_nothing(cuts: list[int], body: bytes) -> None:
    reader = RequestHeadReader()
    data = GOOD + body
    assert reader.is_empty
    found = None
    for cut in [*cuts, len(data)]:
        reader.receive_data(data[:cut])
        data = data[cut:]
        found = reader.next_head() if found is None else found
    assert found == GOOD
    assert reader.take_rest() == body
    assert reader.is_empty


def test_two_heads_follow_each_other() -> None:
    reader = RequestHeadReader()
    reader.receive_data(GOOD + GOOD)
    assert reader.next_head() == reader.next_head() == GOOD
    assert reader.next_head() is None


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\n", b"GET / HTTP/1.1\r\nX: a\n\r\n\r\n", b"\n"])
def test_a_bare_line_feed_is_refused_as_soon_as_it_is_seen(data: bytes) -> None:
    """D1: otherwise a head that ends in two of them would be waited for until the deadline."""

    def read(piece: int) -> None:
        reader = RequestHeadReader()
        for start in range(0, len(data), piece):
            reader.receive_data(data[start : start + piece])
            reader.next_head()

    for piece in (1, len(data)):
        with pytest.raises(RemoteProtocolError, match="bare line feed"):
            read(piece)


def test_what_follows_a_head_is_not_searched() -> None:
    reader = RequestHeadReader()
    reader.receive_data(GOOD + b"\n\n\n" + bytes(MAX_HEAD_BYTES))
    assert reader.next_head() == GOOD


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_a_head_has_a_largest_size(end: bytes) -> None:
    reader = RequestHeadReader()
    reader.receive_data(b"A" * MAX_HEAD_BYTES + b"A" + end)
    with pytest.raises(RemoteProtocolError) as caught:
        reader.next_head()
    assert caught.value.code == 431


def test_a_dribbling_client_costs_linear_time() -> None:
    """P10."""
    reader = RequestHeadReader()
    start = time.process_time()
    for _ in range(MAX_HEAD_BYTES):
        reader.receive_data(b"A")
        assert reader.next_head() is None
    assert time.process_time() - start < 1


def test_blanks_cost_linear_time() -> None:
    """P10: a value of 16,000 blanks before a bad byte."""
    start = time.process_time()
    assert status_of(head(b"Host: h", b"X:" + b" \t" * 8000 + b"\x00")) == 400
    assert time.process_time() - start < 0.1


def test_the_asterisk_is_for_options_and_for_those_who_ask_for_it() -> None:
    options = head(b"Host: h", request=b"OPTIONS * HTTP/1.1")
    assert parse_request_head(options, asterisk_form=True).target == b"*"
    assert status_of(options) == 400
    with pytest.raises(RemoteProtocolError):
        parse_request_head(head(b"Host: h", request=b"GET * HTTP/1.1"), asterisk_form=True)
