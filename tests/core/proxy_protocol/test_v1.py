# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.proxy_protocol import v1
from mezite.core.proxy_protocol.header import AddressFamily, Command, Endpoint, ProxyHeader
from mezite.testing.strategies.proxy_protocol import addressed_headers


def test_tcp4() -> None:
    header = v1.parse(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n")
    assert header == ProxyHeader(
        version=1,
        command=Command.PROXY,
        family=AddressFamily.IPV4,
        source=Endpoint(IPv4Address("192.0.2.7"), 56324),
        destination=Endpoint(IPv4Address("198.51.100.1"), 443),
    )
    assert str(header.source) == "192.0.2.7:56324"


def test_tcp6() -> None:
    header = v1.parse(b"PROXY TCP6 2001:db8::7 ::ffff:192.0.2.1 0 65535\r\n")
    assert header.source == Endpoint(IPv6Address("2001:db8::7"), 0)
    assert header.destination == Endpoint(IPv6Address("::ffff:192.0.2.1"), 65535)
    assert str(header.source) == "[2001:db8::7]:0"


@pytest.mark.parametrize("rest", [b"", b" ", b" ffff::1 ffff::2 1 2", b" \xff\x00 anything"])
def test_unknown_ignores_the_rest(rest: bytes) -> None:
    header = v1.parse(b"PROXY UNKNOWN" + rest + b"\r\n")
    assert (header.family, header.source) == (AddressFamily.UNSPECIFIED, None)


BAD = [
    b"",
    b"PROXY",
    b"PROXY \r\n",
    b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
    b"PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
    b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
    b"PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
    b"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
    b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
    b"PROXY TCP4 1.2.3.4.5 1.2.3.4 1 2\r\n",
    b"PROXY TCP4 0x1.2.3.4 1.2.3.4 1 2\r\n",
    b"PROXY TCP4 ::1 ::1 1 2\r\n",
    b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
    b"PROXY TCP6 ::1 ::g 1 2\r\n",
    b"PROXY TCP6 ::1 :::1 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    b"PROXY TCP6 [::1] ::1 1 2\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1_0 2\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 100000 2\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
    "PROXY TCP4 1.2.3.4 1.2.3.4 \u0661 2\r\n".encode(),
    b"PROXY TCP4 1.2.3.4\t1.2.3.4 1 2\r\n",
    b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
    b"PROXY UNIX /a /b\r\n",
    b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n",
    b"PROXY UNKNOWNX\r\n",
]


@pytest.mark.parametrize("line", BAD)
def test_everything_else_is_refused(line: bytes) -> None:
    """Threat C2."""
    with pytest.raises(RemoteProtocolError, match="PROXY v1"):
        v1.parse(line)


def test_the_longest_line_is_accepted() -> None:
    line = b"PROXY UNKNOWN".ljust(v1.MAX_LINE - 2, b" ") + b"\r\n"
    assert len(line) == 107
    assert v1.parse(line).family is AddressFamily.UNSPECIFIED


@given(addressed_headers(version=1))
def test_what_is_written_is_read(header: ProxyHeader) -> None:
    line = v1.serialize(header)
    assert len(line) <= v1.MAX_LINE
    assert v1.parse(line) == header


def test_unspecified_is_unknown() -> None:
    header = ProxyHeader(version=1, command=Command.PROXY, family=AddressFamily.UNSPECIFIED)
    assert v1.serialize(header) == b"PROXY UNKNOWN\r\n"


def test_local_cannot_be_written() -> None:
    with pytest.raises(LocalProtocolError, match="use version 2"):
        v1.serialize(ProxyHeader(version=1, command=Command.LOCAL, family=AddressFamily.UNSPECIFIED))


@given(st.binary(max_size=120))
def test_garbage_is_parsed_or_refused(data: bytes) -> None:
    try:
        header = v1.parse(b"PROXY " + data + b"\r\n")
    except RemoteProtocolError:
        return
    assert (header.source is None) == (header.family is AddressFamily.UNSPECIFIED)
