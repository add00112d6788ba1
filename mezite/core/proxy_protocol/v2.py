# SPDX-License-Identifier: Apache-2.0
"""Version 2: a binary header with type-length-values (section 2.2)."""

from __future__ import annotations

import itertools
from ipaddress import IPv4Address, IPv6Address

import attrs

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.proxy_protocol.crc32c import crc32c
from mezite.core.proxy_protocol.header import (
    AddressFamily,
    Command,
    Endpoint,
    ProxyHeader,
    SslClient,
    SslInfo,
    Tlv,
    TlvType,
)

__all__ = ["FIXED_BYTES", "MAX_BODY", "SIGNATURE", "body_length", "parse", "serialize"]

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
FIXED_BYTES = 16
"""Signature, version and command, family and protocol, length."""

MAX_BODY = 4096 - FIXED_BYTES
"""The field could say 65535. The largest known honest value is a client certificate (type 0x28), rarely above 2 KiB;
go-proxyproto and HAProxy buffer 4 KiB and 16 KiB."""

_TLV_FIXED = 3
_SSL_FIXED = 5
_CRC_BYTES = 4


@attrs.frozen
class _Layout:
    family: AddressFamily
    size: int
    """Of the address block: two addresses, two ports."""
    address: int


# High nibble: family; low nibble: 1 is STREAM. DGRAM and AF_UNIX exist and are refused: nothing that arrives on a TCP
# listener came over them, and they would leave us without a client address (threat C3).
_STREAM_LAYOUTS = {
    0x11: _Layout(AddressFamily.IPV4, 12, 4),
    0x21: _Layout(AddressFamily.IPV6, 36, 16),
}
_UNSPECIFIED = 0x00


def body_length(fixed: bytes) -> int:
    """Return how many bytes follow the first 16.

    :raises RemoteProtocolError: not a version 2 header, or a body of more than 4 KiB.
    """
    if not fixed.startswith(SIGNATURE) or len(fixed) < FIXED_BYTES:
        raise RemoteProtocolError("PROXY v2: no signature")
    if fixed[12] >> 4 != 2:
        raise RemoteProtocolError(f"PROXY v2: version {fixed[12] >> 4} does not exist")
    length = int.from_bytes(fixed[14:16], "big")
    if length > MAX_BODY:
        raise RemoteProtocolError(f"PROXY v2: a header of {FIXED_BYTES + length} bytes is too long")
    return length


def parse(data: bytes) -> ProxyHeader:
    """Return the header that `data` is, exactly.

    :raises RemoteProtocolError: an unknown version, command, family or protocol, a length that the addresses or TLVs do
        not fill to the byte, or a CRC-32C that is wrong.
    """
    length = body_length(data[:FIXED_BYTES])
    body = data[FIXED_BYTES:]
    if len(body) != length:
        raise RemoteProtocolError("PROXY v2: the length field does not fit the data")
    command = _command(data[12] & 0x0F)
    layout = _STREAM_LAYOUTS.get(data[13])
    if layout is None and data[13] != _UNSPECIFIED and command is Command.PROXY:
        raise RemoteProtocolError(
            f"PROXY v2: address family and protocol 0x{data[13]:02x} is not TCP over IP"
        )
    if layout is None or command is Command.LOCAL:
        # Section 2.2: for LOCAL and AF_UNSPEC the receiver ignores addresses; HAProxy still sends TLVs behind them.
        return _without_endpoints(command, data, 0 if layout is None else layout.size)
    if length < layout.size:
        raise RemoteProtocolError("PROXY v2: the addresses are cut off")
    tlvs = _checked_tlvs(data, layout.size)
    return ProxyHeader(
        version=2,
        command=command,
        family=layout.family,
        source=_endpoint(body, layout, 0),
        destination=_endpoint(body, layout, 1),
        tlvs=tlvs,
        ssl=_ssl(tlvs),
    )


def serialize(header: ProxyHeader, *, checksum: bool = False) -> bytes:
    """Return the bytes of `header`; with `checksum` a CRC-32C is added in front of the other TLVs.

    :raises LocalProtocolError: the TLVs do not fit 4 KiB, or hold a CRC-32C already that `checksum` would add again.
    """
    tlvs = list(header.tlvs)
    if checksum:
        if any(tlv.type == TlvType.CRC32C for tlv in tlvs):
            raise LocalProtocolError("PROXY v2: the header has a CRC-32C already")
        tlvs.insert(0, Tlv(TlvType.CRC32C, bytes(_CRC_BYTES)))
    family, addresses = _address_block(header)
    body = addresses + b"".join(_encode_tlv(tlv) for tlv in tlvs)
    if len(body) > MAX_BODY:
        raise LocalProtocolError(f"PROXY v2: a header of {FIXED_BYTES + len(body)} bytes is too long")
    data = SIGNATURE + bytes([0x20 | header.command.value, family]) + len(body).to_bytes(2, "big") + body
    if not checksum:
        return data
    at = FIXED_BYTES + len(addresses) + _TLV_FIXED
    return data[:at] + crc32c(data).to_bytes(_CRC_BYTES, "big") + data[at + _CRC_BYTES :]


def _command(value: int) -> Command:
    try:
        return Command(value)
    except ValueError:
        raise RemoteProtocolError(f"PROXY v2: command {value} does not exist") from None


def _without_endpoints(command: Command, data: bytes, block: int) -> ProxyHeader:
    # A LOCAL header need not fill its family's block; what is there in its place is not looked at.
    skipped = block if len(data) - FIXED_BYTES >= block else len(data) - FIXED_BYTES
    tlvs = _checked_tlvs(data, skipped)
    return ProxyHeader(
        version=2, command=command, family=AddressFamily.UNSPECIFIED, tlvs=tlvs, ssl=_ssl(tlvs)
    )


def _endpoint(body: bytes, layout: _Layout, which: int) -> Endpoint:
    start = which * layout.address
    raw = body[start : start + layout.address]
    at = 2 * layout.address + 2 * which
    address = IPv4Address(raw) if layout.family is AddressFamily.IPV4 else IPv6Address(raw)
    return Endpoint(address, int.from_bytes(body[at : at + 2], "big"))


def _checked_tlvs(data: bytes, block: int) -> tuple[Tlv, ...]:
    """The TLVs behind the address block, with the checksum verified if there is one."""
    start = FIXED_BYTES + block
    tlvs = _tlvs(data[start:])
    checksums = [tlv.value for tlv in tlvs if tlv.type == TlvType.CRC32C]
    if not checksums:
        return tlvs
    if len(checksums) > 1 or len(checksums[0]) != _CRC_BYTES:
        raise RemoteProtocolError("PROXY v2: not one CRC-32C of four bytes")
    before = itertools.takewhile(lambda tlv: tlv.type != TlvType.CRC32C, tlvs)
    at = start + sum(_TLV_FIXED + len(tlv.value) for tlv in before) + _TLV_FIXED
    zeroed = data[:at] + bytes(_CRC_BYTES) + data[at + _CRC_BYTES :]
    if crc32c(zeroed) != int.from_bytes(checksums[0], "big"):
        raise RemoteProtocolError("PROXY v2: the CRC-32C is wrong")
    return tlvs


def _tlvs(data: bytes) -> tuple[Tlv, ...]:
    tlvs = []
    position = 0
    while position < len(data):
        end = position + _TLV_FIXED + int.from_bytes(data[position + 1 : position + _TLV_FIXED], "big")
        if len(data) - position < _TLV_FIXED or end > len(data):
            raise RemoteProtocolError("PROXY v2: a TLV is cut off")
        tlvs.append(Tlv(data[position], data[position + _TLV_FIXED : end]))
        position = end
    return tuple(tlvs)


def _ssl(tlvs: tuple[Tlv, ...]) -> SslInfo | None:
    values = [tlv.value for tlv in tlvs if tlv.type == TlvType.SSL]
    if not values:
        return None
    if len(values) > 1 or len(values[0]) < _SSL_FIXED:
        raise RemoteProtocolError("PROXY v2: not one SSL value of at least five bytes")
    value = values[0]
    return SslInfo(
        client=SslClient(value[0] & 0x07),
        verify=int.from_bytes(value[1:_SSL_FIXED], "big"),
        tlvs=_tlvs(value[_SSL_FIXED:]),
    )


def _address_block(header: ProxyHeader) -> tuple[int, bytes]:
    if header.source is None or header.destination is None:
        return _UNSPECIFIED, b""
    family = 0x11 if header.family is AddressFamily.IPV4 else 0x21
    ends = (header.source, header.destination)
    addresses = b"".join(end.address.packed for end in ends)
    return family, addresses + b"".join(end.port.to_bytes(2, "big") for end in ends)


def _encode_tlv(tlv: Tlv) -> bytes:
    if len(tlv.value) > MAX_BODY:
        raise LocalProtocolError(f"PROXY v2: a TLV of {len(tlv.value)} bytes is too long")
    return bytes([tlv.type]) + len(tlv.value).to_bytes(2, "big") + tlv.value
