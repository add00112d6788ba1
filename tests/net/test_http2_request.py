# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.net.http2_limits import Http2Limits
from mezite.net.http2_request import RequestRefusedError, check_header_block, parse_request

LIMITS = Http2Limits()


def fields(*, extra=(), **changes):
    pseudo = {"method": b"POST", "scheme": b"https", "path": b"/s.S/M", "authority": b"hub:3025"} | changes
    block = [(b":" + name.encode(), value) for name, value in pseudo.items() if value is not None]
    return [*block, *extra]


def refusal(block):
    with pytest.raises(RequestRefusedError) as caught:
        parse_request(block, LIMITS)
    return caught.value.status


def test_a_request():
    head = parse_request(
        fields(path=b"/a/b?c=d", authority=b"Hub.Example:3025", extra=[(b"x", b"1"), (b"x", b"2")]), LIMITS
    )
    assert (head.method, head.scheme, head.path, head.query) == ("POST", "https", "/a/b", "c=d")
    assert head.authority == "hub.example:3025"
    assert head.get(b"x") == b"1"
    assert head.get(b"y") is None


@pytest.mark.parametrize(
    "path",
    [
        None,
        b"",
        b"foo",
        b"s.S/M",
        b"*",
        b"//evil",
        b"/a//b",
        b"/a b",
        b"/a#b",
        b"/a\x7f",
        b"/a\xff",
        b"/a\x00",
        b"/./a",
        b"/a/..",
        b"/a/../b",
        b"/a/.",
        b"/a%2fb",
        b"/a%2Fb",
        b"/%2e%2e/a",
        b"/a%5cb",
        b"/a\\b",
        b"/a%00",
        b"/a%0d%0a",
        b"/a%7f",
        b"/a%",
        b"/a%zz",
        b"/a?b#c",
        b"/a\n",
        b"http://hub/a",
        b"/" + b"a" * 3000,
    ],
)
def test_paths_that_are_not_canonical(path):
    """D3, D8: no slash, fragments, empty and dot segments, encoded slashes and controls."""
    assert refusal(fields(path=path)) == b"400"


@pytest.mark.parametrize(
    "path", [b"/", b"/a", b"/a.b/..c", b"/a%20b", b"/a/?x=/y", b"/a/", b"/~a:@!$&'()*+,;="]
)
def test_paths_that_are(path):
    assert parse_request(fields(path=path), LIMITS).path == path.partition(b"?")[0].decode()


@pytest.mark.parametrize(
    "authority",
    [
        b"",
        b"a@b",
        b"a/b",
        b"a, b",
        b"a b",
        b"a:",
        b"a:b",
        b"a:123456",
        b"[::1",
        b"::1",
        b"a\x00",
        b"-a",
        b"a\n",
        "ä".encode(),
    ],
)
def test_authorities_that_are_malformed(authority):
    """D3: userinfo, lists, paths."""
    assert refusal(fields(authority=authority)) == b"400"


@pytest.mark.parametrize(
    "authority", [b"localhost", b"hub.example.", b"10.0.0.1:80", b"[::1]:3025", b"node_1"]
)
def test_authorities_that_are_not(authority):
    assert parse_request(fields(authority=authority), LIMITS).authority == authority.decode()


def test_one_authority():
    host = (b"host", b"hub")
    assert parse_request(fields(authority=None, extra=[host]), LIMITS).authority == "hub"
    assert parse_request(fields(authority=b"HUB", extra=[host]), LIMITS).authority == "hub"
    assert refusal(fields(authority=None)) == b"400"
    assert refusal(fields(authority=b"other", extra=[host])) == b"400"
    assert refusal(fields(authority=b"hub", extra=[host, host])) == b"400"
    assert refusal(fields(authority=None, extra=[host, (b"host", b"two")])) == b"400"


@pytest.mark.parametrize("method", [None, b"", b"post", b"PO ST", b"POST\xff", b"A" * 17])
def test_methods(method):
    assert refusal(fields(method=method)) == b"400"


def test_connect_is_not_served():
    """D10."""
    assert refusal(fields(method=b"CONNECT", path=None, scheme=None)) == b"405"


def test_unknown_pseudo_fields():
    assert refusal([*fields(), (b":protocol", b"websocket")]) == b"400"


def test_header_blocks_are_bounded():
    """D12, D15: 100 fields, 16 KiB counted with 32 bytes for each."""
    assert check_header_block([(b"a", b"b")] * 100, LIMITS) is None
    assert check_header_block([(b"a", b"b")] * 101, LIMITS) is not None
    assert check_header_block([(b"a", b"b" * (16_384 - 33))], LIMITS) is None
    assert check_header_block([(b"a", b"b" * (16_384 - 32))], LIMITS) is not None
    assert refusal(fields(extra=[(b"a", b"b")] * 100)) == b"431"


@given(st.binary(max_size=40), st.binary(max_size=20))
def test_what_is_accepted_is_plain(path, authority):
    try:
        head = parse_request(fields(path=path, authority=authority), LIMITS)
    except RequestRefusedError:
        return
    assert head.path.isascii()
    assert head.path.startswith("/")
    assert not any(part in head.path for part in ("//", "#", "\\", " ", "?"))
    assert all(segment not in (".", "..") for segment in head.path.split("/"))
    assert not set(head.authority) & set("@/, \t\r\n")
