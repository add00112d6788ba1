# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import IPv4Address

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.proxy_protocol import v2
from mezite.core.proxy_protocol.header import (
    AddressFamily,
    Command,
    Endpoint,
    ProxyHeader,
    SslClient,
    Tlv,
    TlvType,
)
from mezite.testing.strategies.proxy_protocol import addressed_headers

IPV4 = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + (1234).to_bytes(2, "big") + (443).to_bytes(2, "big")


def raw(command: int, family: int, body: bytes, *, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return v2.SIGNATURE + bytes([command, family]) + size.to_bytes(2, "big") + body


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


def test_ipv4() -> None:
    header = v2.parse(raw(0x21, 0x11, IPV4 + tlv(0xEA, b"\x01vpce")))
    assert header.source == Endpoint(IPv4Address("192.0.2.7"), 1234)
    assert header.destination == Endpoint(IPv4Address("198.51.100.1"), 443)
    assert header.tlvs == (Tlv(0xEA, b"\x01vpce"),)
    assert header.tlv(0xEA) == b"\x01vpce"
    assert header.tlv(TlvType.ALPN) is None


def test_ssl_says_whether_a_client_was_verified() -> None:
    """Verify 0 alone means nothing: it is also what a client without a certificate gets."""
    for flags, verify, expected in [(0x01, 0, False), (0x03, 0, True), (0x05, 0, True), (0x07, 1, False)]:
        value = bytes([flags]) + verify.to_bytes(4, "big") + tlv(TlvType.SSL_CN, b"alice")
        header = v2.parse(raw(0x21, 0x11, IPV4 + tlv(TlvType.SSL, value)))
        assert header.ssl is not None
        assert header.ssl.verified_client is expected
        assert header.ssl.client & SslClient.SSL
        assert header.ssl.tlvs == (Tlv(TlvType.SSL_CN, b"alice"),)


@pytest.mark.parametrize(
    "data",
    [
        raw(0x20, 0x00, b""),
        raw(0x20, 0x11, IPV4),
        raw(0x20, 0x11, b"\x01\x02"),
        raw(0x20, 0x31, b""),
        raw(0x21, 0x00, b""),
        raw(0x21, 0x00, tlv(0xEA, b"x")),
    ],
)
def test_local_and_unspecified_have_no_endpoints(data: bytes) -> None:
    """Threat C3: the socket's own address is used."""
    header = v2.parse(data)
    assert (header.family, header.source, header.destination) == (AddressFamily.UNSPECIFIED, None, None)


BAD = {
    "no signature": b"\r\n\r\n\x00\r\nQUIT\r" + bytes(4),
    "short": v2.SIGNATURE + b"\x21",
    "version 1": raw(0x11, 0x11, IPV4),
    "version 3": raw(0x31, 0x11, IPV4),
    "command 2": raw(0x22, 0x11, IPV4),
    "command 15": raw(0x2F, 0x11, IPV4),
    "udp over ipv4": raw(0x21, 0x12, IPV4),
    "udp over ipv6": raw(0x21, 0x22, bytes(36)),
    "unix stream": raw(0x21, 0x31, bytes(216)),
    "unix datagram": raw(0x21, 0x32, bytes(216)),
    "unspecified protocol": raw(0x21, 0x10, IPV4),
    "family 4": raw(0x21, 0x41, IPV4),
    "addresses cut off": raw(0x21, 0x11, IPV4[:-1]),
    "ipv6 addresses cut off": raw(0x21, 0x21, bytes(35)),
    "longer than said": raw(0x21, 0x11, IPV4 + b"x", length=12),
    "shorter than said": raw(0x21, 0x11, IPV4, length=13),
    "too long": raw(0x21, 0x11, IPV4 + bytes(v2.MAX_BODY)),
    "tlv without length": raw(0x21, 0x11, IPV4 + b"\x01\x00"),
    "tlv cut off": raw(0x21, 0x11, IPV4 + b"\x01\x00\x02h"),
    "tlv of a local header cut off": raw(0x20, 0x00, b"\x01"),
    "ssl too short": raw(0x21, 0x11, IPV4 + tlv(TlvType.SSL, bytes(4))),
    "two ssl": raw(0x21, 0x11, IPV4 + tlv(TlvType.SSL, bytes(5)) * 2),
    "ssl with a cut off tlv": raw(0x21, 0x11, IPV4 + tlv(TlvType.SSL, bytes(6))),
    "wrong crc": raw(0x21, 0x11, IPV4 + tlv(TlvType.CRC32C, b"\xde\xad\xbe\xef")),
    "short crc": raw(0x21, 0x11, IPV4 + tlv(TlvType.CRC32C, b"\xde\xad")),
    "two crcs": raw(0x21, 0x11, IPV4 + tlv(TlvType.CRC32C, bytes(4)) * 2),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_everything_else_is_refused(name: str) -> None:
    """Threat C2."""
    with pytest.raises(RemoteProtocolError, match="PROXY v2"):
        v2.parse(BAD[name])


@given(addressed_headers(version=2), st.booleans())
def test_what_is_written_is_read(header: ProxyHeader, checksum: bool) -> None:
    parsed = v2.parse(v2.serialize(header, checksum=checksum))
    without = tuple(tlv for tlv in parsed.tlvs if tlv.type != TlvType.CRC32C)
    assert attrs.evolve(parsed, tlvs=without) == header
    assert (len(parsed.tlvs) != len(without)) == checksum


@given(addressed_headers(version=2), st.data())
def test_a_checksum_finds_every_flipped_bit(header: ProxyHeader, data: st.DataObject) -> None:
    written = bytearray(v2.serialize(header, checksum=True))
    at = data.draw(st.integers(v2.FIXED_BYTES, len(written) - 1))
    written[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        parsed = v2.parse(bytes(written))
    except RemoteProtocolError:
        return
    # The one flip that may pass is the one that makes the checksum's own type another one.
    assert parsed.tlv(TlvType.CRC32C) is None


def test_local_is_written_without_addresses() -> None:
    header = ProxyHeader(version=2, command=Command.LOCAL, family=AddressFamily.UNSPECIFIED)
    assert v2.serialize(header) == v2.SIGNATURE + b"\x20\x00\x00\x00"
    assert v2.parse(v2.serialize(header)) == header


@pytest.mark.parametrize("size", [v2.MAX_BODY - 3, v2.MAX_BODY + 1])
def test_what_does_not_fit_is_not_written(size: int) -> None:
    header = v2.parse(raw(0x21, 0x11, IPV4))
    with pytest.raises(LocalProtocolError, match="too long"):
        v2.serialize(attrs.evolve(header, tlvs=(Tlv(0xEA, bytes(size)),)))


def test_a_second_checksum_is_not_written() -> None:
    header = v2.parse(v2.serialize(v2.parse(raw(0x21, 0x11, IPV4)), checksum=True))
    with pytest.raises(LocalProtocolError, match="already"):
        v2.serialize(header, checksum=True)


def test_a_checksum_behind_other_values_is_found() -> None:
    plain = raw(0x21, 0x11, IPV4 + tlv(0xEA, b"abc") + tlv(TlvType.CRC32C, bytes(4)))
    from mezite.core.proxy_protocol.crc32c import crc32c

    checked = plain[:-4] + crc32c(plain).to_bytes(4, "big")
    assert v2.parse(checked).tlv(0xEA) == b"abc"


@given(st.binary(max_size=80), st.sampled_from([0x20, 0x21]), st.sampled_from([0x00, 0x11, 0x21, 0x31]))
def test_garbage_is_parsed_or_refused(body: bytes, command: int, family: int) -> None:
    try:
        header = v2.parse(raw(command, family, body))
    except RemoteProtocolError:
        return
    assert (header.source is None) == (header.family is AddressFamily.UNSPECIFIED)
