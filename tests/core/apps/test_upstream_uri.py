# SPDX-License-Identifier: Apache-2.0
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.apps.upstream_uri import InvalidUpstreamUriError, UpstreamScheme, parse_upstream_uri


@pytest.mark.parametrize(
    ("text", "scheme", "target", "authority", "path"),
    [
        ("http://10.0.3.12:3000", "http", "10.0.3.12:3000", "10.0.3.12:3000", ""),
        ("http://10.0.3.12:3000/", "http", "10.0.3.12:3000", "10.0.3.12:3000", ""),
        ("http://wiki.internal", "http", "wiki.internal:80", "wiki.internal", ""),
        ("https://wiki.internal/base/", "https", "wiki.internal:443", "wiki.internal", "/base"),
        ("https://wiki.internal:8443/a/b", "https", "wiki.internal:8443", "wiki.internal:8443", "/a/b"),
        ("http://my_app:80", "http", "my_app:80", "my_app", ""),
        ("h2c://grpc:50051", "h2c", "grpc:50051", "grpc:50051", ""),
        ("https://[2001:db8::7]:8443", "https", "[2001:db8::7]:8443", "[2001:db8::7]:8443", ""),
        ("https://[::1]", "https", "[::1]:443", "[::1]", ""),
        ("tcp://redis:6379", "tcp", "redis:6379", "redis:6379", ""),
        ("tcp://127.0.0.1:80", "tcp", "127.0.0.1:80", "127.0.0.1:80", ""),
        ("http://1st.example", "http", "1st.example:80", "1st.example", ""),
    ],
)
def test_parts(text: str, scheme: str, target: str, authority: str, path: str) -> None:
    uri = parse_upstream_uri(text)
    assert (uri.text, uri.scheme, uri.target) == (text, UpstreamScheme(scheme), target)
    assert (uri.authority, uri.path) == (authority, path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "does not say how to speak"),
        ("10.0.3.12:3000", "write http://10.0.3.12:3000"),
        ("HTTP://a", "write http://a"),
        ("ftp://a", "use http://, https://, h2c:// or tcp://"),
        ("://a", "is not supported"),
        ("http://", "names no host"),
        ("http://:80", "names no host"),
        ("http:///path", "names no host"),
        ("http://user:secret@a", "user name"),
        ("http://a#f", "fragment"),
        ("http://a?q", "query"),
        ("http://a\\b", "backslash"),
        ("http://a/%2e", "percent sign"),
        ("http://a b", "character that no URI has"),
        ("http://a\x7f", "character that no URI has"),
        ("http://a\r\nHost: b", "character that no URI has"),
        ("http://b\u00fccher", "character that no URI has"),
        ("http://a/" + "x" * 600, "at most 512"),
        ("tcp://redis", "needs a port"),
        ("tcp://redis:6379/0", "write tcp://redis:6379"),
        ("http://a:", "port ''"),
        ("http://a:0", "port '0'"),
        ("http://a:080", "port '080'"),
        ("http://a:65536", "port '65536'"),
        ("http://a:+80", "port '\\+80'"),
        ("http://a:1:2", "in brackets"),
        ("http://::1", "in brackets"),
        ("http://[::1", "IPv6 address"),
        ("http://[::1]x", "IPv6 address"),
        ("http://[::1%lo]", "percent sign"),
        ("http://[::1]:", "port ''"),
        ("http://[1.2.3.4]", "not an IP address"),
        ("http://[0::1]", "write ::1"),
        ("http://[2001:DB8::1]", "write 2001:db8::1"),
        ("http://127.1", "not an IP address in full, such as 127.0.0.1"),
        ("http://0x7f.0x1", "not an IP address"),
        ("http://010.0.0.1", "not an IP address"),
        ("http://2130706433", "not an IP address"),
        ("http://0.0.0.0:80", "where programs listen"),
        ("http://[::]:80", "where programs listen"),
        ("http://224.0.0.1", "multicast"),
        ("http://Wiki.internal", "write wiki.internal"),
        ("http://a..b", "not a host name"),
        ("http://a.", "not a host name"),
        ("http://-a", "not a host name"),
        ("http://" + "a" * 64, "not a host name"),
        ("http://" + ".".join(["a" * 60] * 5), "not a host name"),
        ("http://a//b", "not plain"),
        ("http://a/b//", "not plain"),
        ("http://a/../b", "not plain"),
        ("http://a/.", "not plain"),
        ("http://a/b;c", "not plain"),
    ],
)
def test_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidUpstreamUriError, match=why):
        parse_upstream_uri(text)


PIECES = st.sampled_from(
    ["http", "tcp", "://", "a", ".", ":", "80", "/", "[", "]", "::1", "@", "%", "_", "-", "A", "0x", "é"]
)


@given(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=12).map("".join)))
def test_whatever_is_taken_reads_the_same_elsewhere(text: str) -> None:
    """Either refused, or Python's own reader, which others resemble, agrees on every part (threat D2)."""
    try:
        uri = parse_upstream_uri(text)
    except InvalidUpstreamUriError:
        return
    parts = urlsplit(text)
    assert (parts.scheme, parts.hostname) == (uri.scheme.value, uri.host)
    assert parts.port in (None, uri.port)
    assert parts.path.removesuffix("/") == uri.path
    assert (parts.query, parts.fragment, parts.username) == ("", "", None)
    assert parse_upstream_uri(f"{uri.scheme}://{uri.target}{uri.path}").target == uri.target
