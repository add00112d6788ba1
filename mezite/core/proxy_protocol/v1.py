# SPDX-License-Identifier: Apache-2.0
"""Version 1: one line of text (section 2.1)."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.proxy_protocol.header import AddressFamily, Command, Endpoint, ProxyHeader

__all__ = ["MAX_LINE", "PREFIX", "parse", "serialize"]

PREFIX = b"PROXY "

MAX_LINE = 107
"""With CRLF; section 2.1 counts it out for `PROXY UNKNOWN` with two longest IPv6 addresses and ports."""

# Canonical decimal: what a balancer prints. "01" or "+1" is someone being clever (threat C2).
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}", re.ASCII)
_OCTET = rb"(?:0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])"
_IPV4 = re.compile(_OCTET + rb"(?:\." + _OCTET + rb"){3}", re.ASCII)
# The alphabet only, IPv6Address does the rest; no zone ids, which mean nothing on another machine.
_IPV6 = re.compile(rb"[0-9A-Fa-f:.]{2,39}", re.ASCII)

MAX_PORT = 65535


def parse(line: bytes) -> ProxyHeader:
    """Return the header in `line`, which ends with CRLF.

    :raises RemoteProtocolError: anything but what section 2.1 describes: wrong prefix, no CRLF at the end, more than
        107 bytes, an unknown protocol, addresses of another family, ports that are not canonical decimal.
    """
    if len(line) > MAX_LINE or not line.endswith(b"\r\n") or not line.startswith(PREFIX):
        raise RemoteProtocolError("PROXY v1: not a line of at most 107 bytes that ends with CRLF")
    fields = line[len(PREFIX) : -2].split(b" ")
    if fields[0] == b"UNKNOWN":
        # The rest of the line is to be ignored, whatever it is, up to the CRLF.
        return ProxyHeader(version=1, command=Command.PROXY, family=AddressFamily.UNSPECIFIED)
    if fields[0] not in {b"TCP4", b"TCP6"} or len(fields) != 5:
        raise RemoteProtocolError("PROXY v1: not TCP4, TCP6 or UNKNOWN with four fields")
    family = AddressFamily.IPV4 if fields[0] == b"TCP4" else AddressFamily.IPV6
    return ProxyHeader(
        version=1,
        command=Command.PROXY,
        family=family,
        source=Endpoint(_address(fields[1], family), _port(fields[3])),
        destination=Endpoint(_address(fields[2], family), _port(fields[4])),
    )


def serialize(header: ProxyHeader) -> bytes:
    """Return the line for `header`; its TLVs have no place in version 1 and are left out.

    :raises LocalProtocolError: a LOCAL header, which version 1 cannot express.
    """
    if header.command is Command.LOCAL:
        raise LocalProtocolError("PROXY v1 has no LOCAL command: use version 2")
    if header.source is None or header.destination is None:
        return b"PROXY UNKNOWN\r\n"
    name = "TCP4" if header.family is AddressFamily.IPV4 else "TCP6"
    source, destination = header.source, header.destination
    text = f"PROXY {name} {source.address} {destination.address} {source.port} {destination.port}\r\n"
    return text.encode("ascii")


def _address(text: bytes, family: AddressFamily) -> IPv4Address | IPv6Address:
    if family is AddressFamily.IPV4:
        if _IPV4.fullmatch(text) is None:
            raise RemoteProtocolError("PROXY v1: not a canonical IPv4 address")
        return IPv4Address(text.decode("ascii"))
    if _IPV6.fullmatch(text) is None:
        raise RemoteProtocolError("PROXY v1: not an IPv6 address")
    try:
        return IPv6Address(text.decode("ascii"))
    except AddressValueError:
        raise RemoteProtocolError("PROXY v1: not an IPv6 address") from None


def _port(text: bytes) -> int:
    if _PORT.fullmatch(text) is None or int(text) > MAX_PORT:
        raise RemoteProtocolError("PROXY v1: not a port from 0 to 65535 in canonical decimal")
    return int(text)
